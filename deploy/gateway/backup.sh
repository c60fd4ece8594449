#!/bin/sh
# A copy of the ledger for today: backup.sh CONFIG FOLDER. Keeps one for each day of the week and one for each month.
# A copy that is not intact is kept under a name of its own, and takes no other's place; then the exit code is 3.
set -eu
config=$1
folder=$2
new=$folder/new.sqlite
rm -f "$new"
code=0
needletrail ledger backup "$new" --config "$config" || code=$?
case $code in
    0)
        cp "$new" "$new.month"
        mv "$new.month" "$folder/month-$(date -u +%Y-%m).sqlite"
        mv "$new" "$folder/day-$(date -u +%u).sqlite"
        ;;
    3) mv "$new" "$folder/not-intact-$(date -u +%Y-%m-%dT%H%M%SZ).sqlite" ;;
esac
exit "$code"
