# make build: the two commands, static, into bin/
# make demo:  checkpoint, sign, verify and restore a running python3 program (root)
# make demo-jvm: a java service's first answer from its image, by an ordinary user, against a cold start (root lends rstr one capability)
# make install: plain, into $(DESTDIR)$(PREFIX)/bin; install-filecap and install-setuid lend rstr
#              authority as docs/using.md says
# make test:  everything (root); make bench: the table of speeds (root)

export CGO_ENABLED = 0
PREFIX ?= /usr/local
bin = $(DESTDIR)$(PREFIX)/bin
need = ./testdata/need

.PHONY: build demo demo-jvm test bench install install-filecap install-setuid clean

build:
	go build -trimpath -o bin/ ./cmd/...

demo: build
	@$(need) python3 ps
	@./testdata/demo/demo bin

demo-jvm: build
	@$(need) java javac setcap setpriv
	@./testdata/demo/jvm bin

test:
	@$(need) gcc python3 javac node sqlite3 ssh-keygen openssl swtpm qemu-system-x86_64 setcap slurmctld slurmd sbatch munged
	go vet ./...
	go test -timeout 20m ./...

bench:
	@$(need) gcc python3 javac ssh-keygen swtpm
	go run ./bench

install: build
	install -d $(bin)
	install -m 0755 bin/ckpt bin/rstr $(bin)/

install-filecap: install
	setcap cap_checkpoint_restore+ep $(bin)/rstr

install-setuid: install
	install -o root -g root -m 4755 bin/rstr $(bin)/
	install -d -o root -g root -m 0755 $(DESTDIR)/etc/ckpt

clean:
	rm -rf bin testdata/fixtures/bin
