package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptool/ckpt/internal/kernelio"
)

// AuditLog is where all that happens with more authority than the caller's is
// written down, a line each. SyslogSocket is syslog's, which gets it too.
const (
	AuditLog     = "/var/log/ckpt.log"
	SyslogSocket = "/dev/log"
)

// Audit appends a line to a log that must be root's alone, and waits until it
// is on the disk.
func Audit(path, line string) error {
	f, err := openLog(path)
	if err != nil {
		return fmt.Errorf("the log of what is done with authority: %w", err)
	}
	defer f.Close()
	line = strings.ReplaceAll(line, "\n", " ") + "\n"
	if _, err := f.WriteString(line); err != nil {
		return err
	}
	return f.Sync()
}

// openLog opens the log and refuses one that anybody else could have written.
// The group may read it: that is how distributions let adm do so.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, err
	}
	st, err := kernelio.Fstat(int(f.Fd()))
	if err == nil && (st.Type() != unix.S_IFREG || st.UID != 0 || st.Mode&0o022 != 0) {
		err = fmt.Errorf("%s is not a file that only root can write", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Syslog sends a line to syslog as the facility authpriv (syslog(3)).
func Syslog(program, line string, bad bool) error {
	priority := 10<<3 | 5 // LOG_AUTHPRIV, LOG_NOTICE
	if bad {
		priority = 10<<3 | 4 // LOG_WARNING
	}
	return kernelio.SendDatagram(SyslogSocket, fmt.Appendf(nil, "<%d>%s[%d]: %s", priority, program, kernelio.PID(), line))
}

// AuditRefusal appends the line of a refusal to the log, unless its caller has
// had many of them in this minute. The last one says so instead: saying makes
// that line. Root is not counted, who could empty the log.
func AuditRefusal(caller uint32, line string, saying func(why string) string) error {
	if caller == 0 {
		return Audit(AuditLog, line)
	}
	n, err := CountRefusal(RefusalDir, caller, time.Now())
	switch {
	case err != nil || n > MaxRefusals:
		return err
	case n == MaxRefusals:
		line = saying("and more refusals of this caller, which are not written down for a minute")
	}
	return Audit(AuditLog, line)
}

// RefusalDir is where refusals are counted, a file for each caller: its
// size is the count.
const RefusalDir = "/var/lib/ckpt/refused"

// MaxRefusals is how many refusals of a caller's are written down in a minute.
const MaxRefusals = 10

// CountRefusal says how many refusals of a caller's there were in this minute,
// with this one. The minute begins anew when there was none for so long.
func CountRefusal(dir string, caller uint32, now time.Time) (int, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.FormatUint(uint64(caller), 10)), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	n := int(st.Size())
	if age := now.Sub(st.ModTime()); age > time.Minute || age < -time.Minute {
		n, err = 0, f.Truncate(0)
	}
	if err == nil && n <= MaxRefusals {
		_, err = f.Write([]byte{'.'})
	}
	return n + 1, err
}
