package allowed

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ckptool/ckpt/pkg/verify/sshsig"
)

const blank = " \t"

// Parse decodes text. Times that do not end in Z are of zone, nil for UTC.
// A malformed line anywhere is an error that wraps ErrSyntax and names the line;
// ssh-keygen would stop reading there, or not notice.
func Parse(text []byte, zone *time.Location) (*File, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrSyntax, len(text), MaxSize)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("%w: a NUL byte in it", ErrSyntax)
	}
	if zone == nil {
		zone = time.UTC
	}
	f, n := new(File), 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		l, err := parseLine(line, zone)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSyntax, n, err)
		}
		l.Number = n
		f.Lines = append(f.Lines, *l)
	}
	return f, nil
}

// parseLine decodes: principals [options] key [comment].
func parseLine(line string, zone *time.Location) (*Line, error) {
	l := new(Line)
	var err error
	if l.Principals, line, err = principals(line); err != nil {
		return nil, err
	}
	if !startsWithKey(line) {
		end, err := endOfOptions(line)
		if err != nil {
			return nil, err
		}
		if err := l.parseOptions(line[:end], zone); err != nil {
			return nil, err
		}
		line = strings.TrimLeft(line[end:], blank)
	}
	l.Key, err = parseKey(line)
	return l, err
}

// principals cuts the first word off line, which may be quoted.
func principals(line string) (word, rest string, err error) {
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		word, rest, ok = strings.Cut(quoted, `"`)
		if !ok {
			return "", "", fmt.Errorf("principals: no closing quote")
		}
		if rest != "" && !strings.ContainsAny(rest[:1], blank) {
			return "", "", fmt.Errorf("principals: text behind the closing quote")
		}
	} else {
		end := max(strings.IndexAny(line, blank), 0)
		word, rest = line[:end], line[end:]
	}
	if word == "" || strings.Contains(word, `"`) {
		return "", "", fmt.Errorf("principals: none, or a stray quote")
	}
	return word, strings.TrimLeft(rest, blank), nil
}

// startsWithKey tells a key from options: its second word is base64 that begins
// with the first as a length-prefixed string.
func startsWithKey(line string) bool {
	name, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	blob, err := base64.StdEncoding.DecodeString(firstWord(rest))
	if err != nil {
		return false
	}
	var head struct {
		Name string
		Rest []byte `ssh:"rest"`
	}
	return ssh.Unmarshal(blob, &head) == nil && head.Name == name
}

func firstWord(s string) string {
	s = strings.TrimLeft(s, blank)
	if end := strings.IndexAny(s, blank); end >= 0 {
		return s[:end]
	}
	return s
}

// parseKey decodes: type base64 [comment].
func parseKey(line string) (ssh.PublicKey, error) {
	if !startsWithKey(line) {
		return nil, fmt.Errorf("no public key where one is expected")
	}
	_, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(firstWord(rest))
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	key, err := sshsig.ParseKey(blob)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return nil, fmt.Errorf("a certificate; list its key, or its authority with cert-authority")
	}
	return key, nil
}
