"""`python -m needletrail_gateway` is `needletrail`."""

from needletrail_gateway.cli import main

main()
