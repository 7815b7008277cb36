"""One process: command line, hosts, signals, locks, watchdog, workdir."""
