# Functions for the lines of shell in the client tests; `inside` (world.ts) reads this first.

# eventually COMMAND…: until it succeeds, for two minutes at most. Its output is not shown.
eventually() {
  deadline=$(($(date +%s) + 120))
  until "$@" >/dev/null 2>&1; do
    if [ "$(date +%s)" -gt "$deadline" ]; then echo "waited two minutes in vain for: $*" >&2; return 1; fi
    sleep 0.1
  done
}

# logged CONTAINER TEXT: until the log has a line with it.
logged() { eventually sh -c 'docker logs "$1" 2>&1 | grep -q -- "$2"' sh "$1" "$2"; }

# state CONTAINER TEMPLATE: of its state, such as {{.ExitCode}}.
state() { docker inspect -f "{{with .State}}$2{{end}}" "$1"; }

# address CONTAINER [NETWORK [FIELD]]: its IPAddress, or its GlobalIPv6Address.
address() { docker inspect -f "{{with index .NetworkSettings.Networks \"${2:-bridge}\"}}{{.${3:-IPAddress}}}{{end}}" "$1"; }

# engine_shim CONTAINER: the pid of containerd's shim, whose children are the container's processes on the host.
engine_shim() { pgrep -f "[c]ontainerd-shim.*$(docker inspect -f '{{.Id}}' "$1")"; }
