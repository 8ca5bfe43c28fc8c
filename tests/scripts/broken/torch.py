"""A framework whose installation is broken."""

raise OSError("libtorch_cpu.so: cannot open shared object file")
