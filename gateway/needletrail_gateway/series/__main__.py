"""`python -m needletrail_gateway.series`: the program that the gateway starts (follower.py)."""

from needletrail_gateway.series.program import main

if __name__ == "__main__":
    main()
