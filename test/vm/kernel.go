package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelPackage depends on the newest kernel of a release series of Debian's that is made for virtual machines; what a TPM
// needs is in it, not in modules.
func kernelPackage(release string) string {
	if release == "" {
		return "linux-image-cloud-amd64"
	}
	return "linux-image-" + release + "-cloud-amd64"
}

// kernel is the path of the kernel to boot, which is downloaded from the host's Debian mirror once and kept in
// the user's cache.
func kernel(release string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "ckpt-test")
	path := filepath.Join(dir, "vmlinuz"+release)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "download")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := download(work, kernelPackage(release)); err != nil {
		// The lists of packages may be old, or not there.
		if e := command(work, "apt-get", "update", "-qq"); e != nil {
			return "", errors.Join(err, e)
		}
		if err := download(work, kernelPackage(release)); err != nil {
			return "", err
		}
	}
	found, err := filepath.Glob(filepath.Join(work, "x/boot/vmlinuz-*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("kernels in the package: %q, %v", found, err)
	}
	return path, os.Rename(found[0], path)
}

func download(dir, meta string) error {
	out, err := exec.Command("apt-cache", "depends", "--important", meta).Output()
	if err != nil {
		return fmt.Errorf("apt-cache: %w", err)
	}
	_, name, ok := strings.Cut(string(out), "Depends: ")
	if !ok {
		return fmt.Errorf("apt knows no %s", meta)
	}
	if err := command(dir, "apt-get", "download", "-qq", strings.TrimSpace(name)); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("downloaded %q, %v", packages, err)
	}
	return command(dir, "dpkg-deb", "-x", packages[0], "x")
}

func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	return output(cmd)
}

// output runs cmd and puts what it printed into its error.
func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, out)
	}
	return nil
}
