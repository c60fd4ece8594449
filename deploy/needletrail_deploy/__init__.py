"""Makes what a deployment must not have from a repository: keys, certificates, passwords, accounts.

`python -m needletrail_deploy` writes one folder of files that only their owner may read. What is there
already stays as it is, so the command can be run again at any time: after a new pen, to renew the
broker's certificate, or to see what there is. Only the broker's two lists are written anew each time,
from the accounts that are there.
"""
