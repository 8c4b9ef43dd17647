#!/usr/bin/env bash
# Run a job of etlkit for cron: one at a time, with a log, and with more tries after a failure.
# Usage: run-job.sh JOB [OPTIONS OF etlkit run], e.g. run-job.sh jobs.workflow --project my-project
set -uo pipefail
home=${ETLKIT_HOME:-$HOME/etl}                   # your project's folder, with its .venv
logs=${ETLKIT_LOGS:-$home/logs}
umask 077
cd -- "$home" || exit 2
mkdir -p -- "$logs"
name=${1//[^A-Za-z0-9_.-]/_}

exec 9>"$logs/$name.lock"
if ! flock --nonblock 9; then
  echo "$1 is still running" >&2                 # cron mails this
  exit 75
fi

for wait_s in 60 300 900 0; do
  .venv/bin/etlkit run "$@" --resume=auto --log-format json >>"$logs/$name.out" 2>>"$logs/$name.log"
  status=$?
  # Only 1 may pass: 0 is done, 2 is a mistake in the job, 130 and 143 are somebody who stopped it.
  if [ "$status" -ne 1 ] || [ "$wait_s" -eq 0 ]; then break; fi
  sleep "$wait_s"
done

if [ "$status" -ne 0 ]; then
  echo "$1 ended with exit status $status; see $logs/$name.log" >&2
fi
exit "$status"
