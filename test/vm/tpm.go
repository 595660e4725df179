package vm

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"time"
)

// startTPM runs a software TPM with its state in dir, for a machine to control by dir/tpm.ctrl.
func startTPM(ctx context.Context, dir string) (stop func(), err error) {
	control := filepath.Join(dir, "tpm.ctrl")
	cmd := exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--ctrl", "type=unixio,path="+control)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for range 500 {
		if c, err := net.Dial("unix", control); err == nil {
			_ = c.Close()
			return stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not appear", control)
}
