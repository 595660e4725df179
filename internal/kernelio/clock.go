package kernelio

import "golang.org/x/sys/unix"

// Clock reads a clock (clock_gettime(2)), in nanoseconds.
func Clock(id int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, failed(err, "clock_gettime", id)
	}
	return t.Nano(), nil
}
