"""Everything that is measured, in one run: python -m benchmarks [--quick] [--json FILE]."""

from benchmarks.decode import decode
from benchmarks.felt import felt
from benchmarks.finish import finish
from benchmarks.growth import growth
from benchmarks.measure import main
from benchmarks.reuse import reuse
from benchmarks.single_flight import single_flight
from benchmarks.weight import weight

if __name__ == "__main__":
    main(felt, finish, decode, reuse, single_flight, weight, growth)
