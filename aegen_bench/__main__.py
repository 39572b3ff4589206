from aegen_bench.cli import main

main()
