# Stops the container as a kubelet does: the preStop hook and SIGTERM share one grace period, of which
# two seconds are always left to SIGTERM; then comes SIGKILL. $1 is another grace period than the pod's.
# A container that ended by itself gets no hook.
# shellcheck disable=SC2034,SC2154  # grace and hook are set before
agent=kube-lifecycle/1.31 any_status=yes
patience=${1:-$grace}
if [ -n "$hook" ] && [ "$patience" -gt 0 ] && is_up; then
  clock
  began=$now
  message=$(pre_stop 2>&1) || printf 'preStop hook failed: %s\n' "${message:-exit status $?}" >&2
  clock
  patience=$((patience - now + began))
  [ "$patience" -ge 2 ] || patience=2
fi
exec "$engine" stop -t "$patience" "$container"
