"""The clients that scenarios of behaviour measure, each run in a fresh process by `benchmarks.processes.run_client`."""
