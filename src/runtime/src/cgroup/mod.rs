//! Control groups: v1, hybrid and v2, with the cgroupfs and the systemd driver.
