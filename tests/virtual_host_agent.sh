#!/bin/sh
# Stands in for ssh between virtual hosts: virtual_host_agent.sh [OPTIONS] HOST [OPTIONS] COMMAND...
# mpirun calls it as its launch agent; horovodrun finds it on PATH under the name ssh. It enters the
# namespaces of HOST, whose process id stands in the file of that name under $VIRTUAL_HOSTS, and there
# gives COMMAND to a shell, as sshd does: with an environment of its own, not with the caller's.
set -eu

host=
while :; do
  case $1 in
    -[oip]) shift 2 ;; # ssh's options that launchers give; none matters here
    -*) shift ;;
    *)
      [ -z "$host" ] || break
      host=$1
      shift
      ;;
  esac
done
read -r holder <"$VIRTUAL_HOSTS/$host"
exec nsenter --target "$holder" --net --uts --ipc --mount -- \
  env -i HOME="$HOME" PATH="$PATH" TMPDIR="$TMPDIR" sh -c "$*"
