# make build: the two commands, static, into bin/
# make demo:  checkpoint, sign, verify and restore a running python3 program (root)
# make test:  everything (root); make bench: the table of speeds (root)

export CGO_ENABLED = 0
need = ./testdata/need

.PHONY: build demo test bench install clean

build:
	go build -trimpath -o bin/ ./cmd/...

demo: build
	@$(need) python3 ps
	@./testdata/demo/demo bin

test:
	@$(need) gcc python3 javac node sqlite3 ssh-keygen openssl swtpm qemu-system-x86_64
	go vet ./...
	go test -timeout 20m ./...

bench:
	@$(need) gcc python3 javac ssh-keygen swtpm
	go run ./bench

install: build
	install -m 0755 bin/ckpt bin/rstr $(DESTDIR)/usr/local/bin/

clean:
	rm -rf bin testdata/fixtures/bin
