package kernelio

import (
	"crypto/sha256"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// MaxDigested is the largest file, in bytes, that ContentDigest reads: what is
// larger would have a tree stand still for too long.
const MaxDigested = 64 << 20

// ContentDigest is the SHA-256 of what the file of fd holds, which may be O_PATH.
// It takes the right to read the file.
func ContentDigest(fd int) (sum [sha256.Size]byte, err error) {
	f, err := Reopen(fd, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(ReaderAt(f.Int()), 0, MaxDigested+1))
	if err == nil && n > MaxDigested {
		err = fmt.Errorf("it has more than %d bytes", MaxDigested)
	}
	return [sha256.Size]byte(h.Sum(nil)), err
}
