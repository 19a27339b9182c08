# The second half of an apply, once it is decided: from the intent in the ledger to the finished job.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

# ledger_lines COMPLETE: sets LINES to the lines of this copy. Directories, and borrowed and replaced units, are
# remembered from earlier applies: only the first one knew what was there before.
ledger_lines() {
  place=$DS$TAB$SLOT
  LINES="copy$TAB$place$TAB$REVISION$TAB$BUNDLE$TAB$RUNTIME$TAB$1$TAB$STOP_S$TAB$HOME_DIR$NL"
  each ledger_unit "$UNITS"
  seals
  each ledger_file "$WANTED"
  each ledger_container "$CONTAINERS"
  each ledger_image "$IMAGES"
  each ledger_user "$USERS"
  each ledger_kept "$MINE"
  each ledger_former "$FORMER"
  LINES=$LINES$MADE
}

ledger_unit() {
  LINES="${LINES}unit$TAB$place$TAB$1$TAB$2$TAB$3$NL"
}

ledger_file() {
  seal=-
  case $NL$NOW in
    *"$NL$1$TAB"*)
      seal=$NL$NOW
      seal=${seal#*"$NL$1$TAB"}
      seal=${seal%%"$NL"*}
      ;;
  esac
  KEYED=$7
  if has "$SECRETS" "$1"; then keyed "$OWNER_KEY" "$7"; fi
  LINES="${LINES}file$TAB$place$TAB$1$TAB$KEYED$TAB$seal$NL"
}

ledger_container() {
  LINES="${LINES}container$TAB$place$TAB$1$TAB$RUNTIME$NL"
}

ledger_image() {
  LINES="${LINES}image$TAB$place$TAB$1$NL"
}

ledger_user() {
  LINES="${LINES}user$TAB$place$TAB$1$NL"
}

ledger_kept() {
  case $1 in dir | borrowed | replaced) LINES=$LINES$line$NL ;; esac
}

ledger_former() {
  case $NL$LINES in *"$NL$1$TAB$2$TAB$3$TAB$4$TAB"*) ;; *) LINES=$LINES$line$NL ;; esac
}

# change: everything on disk, in an order that can be cut anywhere.
change() {
  [ "$NEED" != restart ] || check_images || return 1
  close_database || return 1
  if [ "$DISK$STOP" = 00 ]; then
    [ "$RELOAD" = 0 ] || { own && daemon_reload; }
    return
  fi
  BEFORE=$LEDGER
  if ! prepare; then
    # Nothing has been stopped or replaced yet: the ledger may say so again.
    step=$STEP why=$WHY
    forget_beside
    put_ledger "$BEFORE"
    fail "$step" "$why" || return 1
  fi
  if [ "$STOP" = 1 ]; then
    reversed "$NEW_UNITS$GONE_UNITS"
    OWN=''
    each keep_own "$REVERSED"
    stop_units "$OWN" "$STOP_S" || return 1
    unmount_below "$HOME_DIR/empty" "$HOME_DIR/empty/$REVISION" || return 1
  fi
  if ! switch; then
    # Whatever stands there now is better than nothing; the ledger says that this apply was cut.
    step=$STEP why=$WHY
    # But not beside the unit that it is to replace.
    systemctl daemon-reload >/dev/null 2>&1
    [ -n "$AWAY" ] || on_units 60 "$STARTED" start --no-block
    fail "$step" "$why" || return 1
  fi
}

# prepare: the intent, and all that needs room on a disk.
prepare() {
  TEMPORARY='' FOLDERS=''
  ledger_lines 0
  # What the old copy had and the new one lacks stays in the ledger until it is deleted.
  OLD=''
  each keep_old "$MINE"
  supersede_images || return 1
  put_ledger "$OTHERS$LINES$OLD" || return 1
  make_users && make_directories && place_beside
}

# make_users: those that are missing. systemd-sysusers reads a file of this order only: one that stayed in
# /etc/sysusers.d would be carried out again at every boot, and put users into groups that are not ours any more.
make_users() {
  MISSING=''
  each missing_user "$USERS"
  [ -n "$MISSING" ] || return 0
  if command -v systemd-sysusers >/dev/null 2>&1; then
    printf '%s' "$MISSING" >"$STAGE/users.conf" || fail users "no room for $STAGE/users.conf" || return 1
    SAID=$(systemd-sysusers "$STAGE/users.conf" 2>&1 9>&-)
    each user_exists "$USERS" && return 0
    command -v useradd >/dev/null 2>&1 || fail users "systemd-sysusers: $SAID" || return 1
  fi
  each make_user "$USERS"
}

user_exists() {
  id -u -- "$1" >/dev/null 2>&1
}

# missing_user NAME HOME SHELL GROUPS: adds the lines of sysusers.d that make it.
missing_user() {
  ! user_exists "$1" || return 0
  MISSING="${MISSING}u $1 - \"DaemonSet $DS\" $2 $3$NL"
  [ "$4" != - ] || return 0
  user=$1
  IFS=,
  for group in $4; do
    MISSING="${MISSING}m $user $group$NL"
  done
}

# supersede_images: what this copy has had so far is from now on what the DaemonSet had before.
supersede_images() {
  images_of "$DS" "$MINE"
  HAD=$IMAGES_OF
  images_of "$DS" "$OTHERS"
  supersede "$DS" "$HAD" "$IMAGES_OF$IMAGES"
}

# make_user NAME HOME SHELL GROUPS
make_user() {
  ! id -u -- "$1" >/dev/null 2>&1 || return 0
  name=$1 groups=$4
  set -- --system --home-dir "$2" --shell "$3" --no-create-home
  if getent group "$name" >/dev/null 2>&1; then set -- "$@" --gid "$name"; else set -- "$@" --user-group; fi
  [ "$groups" = - ] || set -- "$@" --groups "$groups"
  SAID=$(useradd "$@" -- "$name" 2>&1 9>&-) || fail users "useradd $name: $SAID"
}

keep_old() {
  case $1 in
    file) has "$GONE" "$4" && OLD=$OLD$line$NL ;;
    unit) has "$GONE_UNITS" "$4" && OLD=$OLD$line$NL ;;
    container) has "$CONTAINERS" "$4" || OLD=$OLD$line$NL ;;
  esac
  return 0
}

# keep_own UNIT: a target may serve the other slot, and a borrowed unit is not ours to stop.
keep_own() {
  has "$TARGETS" "$1" || has "$LENDERS" "$1" || OWN="$OWN$1$NL"
}

# make_directories: those of the bundle, and those that its preconditions ask to make.
make_directories() {
  MADE=''
  make_directory "$HOME_DIR" 700 && each make_missing "$CHECKS" && each make_own "$DIRS" &&
    each make_parent "$WANTED" || return 1
  [ -n "$MADE" ] || return 0
  ledger_lines 0
  put_ledger "$OTHERS$LINES$OLD" || return 1
  split_ledger "$DS" "$SLOT"
  MADE=''
}

make_missing() {
  case $1 in
    make-directory) make_directory "$2" 755 ;;
    make-path) [ -e "$2" ] || make_directory "$2" 755 ;;
    make-file)
      [ -e "$2" ] && return 0
      make_directory "${2%/*}" 755 || return 1
      remember_directory "$2"
      (umask 022 && : >"$2") 2>/dev/null || fail directories "cannot make $2"
      ;;
  esac
}

make_own() {
  make_directory "$1" "$2"
}

make_parent() {
  [ -d "${1%/*}" ] || make_directory "${1%/*}" 755
}

# make_directory PATH MODE: with its missing parents; each one made is remembered, to go when empty.
make_directory() {
  [ ! -d "$1" ] || return 0
  case $1 in /*/*) make_directory "${1%/*}" 755 || return 1 ;; esac
  remember_directory "$1"
  SAID=$(mkdir -m "$2" -- "$1" 2>&1) || fail directories "cannot make $1: $SAID"
}

remember_directory() {
  case $1 in "$STATE" | "$STATE"/*) return 0 ;; esac
  MADE="${MADE}dir$TAB$DS$TAB$SLOT$TAB$1$NL"
}

# place_beside: every new file under a temporary name in its own directory, safe on disk.
place_beside() {
  each place_file "$DIFFERENT" || return 1
  [ -n "$TEMPORARY" ] || return 0
  IFS=$NL
  # shellcheck disable=SC2086
  SAID=$(sync -- $TEMPORARY 2>&1)
  status=$?
  IFS=$TAB$NL' '
  [ "$status" = 0 ] || fail install "cannot write to disk: $SAID"
}

# beside PATH: sets BESIDE to its temporary name, which no reader of the directory takes for a file of its own.
beside() {
  BESIDE=${1%/*}/.${1##*/}.fleetd-new
}

# place_file PATH MODE OWNER GROUP ON_CHANGE NUMBER SHA256
place_file() {
  beside "$1"
  TEMPORARY="$TEMPORARY$BESIDE$NL"
  has "$FOLDERS" "${1%/*}" || FOLDERS="$FOLDERS${1%/*}$NL"
  SAID=$({ rm -rf -- "$BESIDE" && cp -- "$STAGE/$6" "$BESIDE" && chown -- "$3:$4" "$BESIDE" &&
    chmod "$2" -- "$BESIDE"; } 2>&1) || fail install "$1: $SAID" || return 1
  sum=$(sha256sum <"$BESIDE")
  [ "${sum%% *}" = "$7" ] || fail install "$1: what was written differs from what was sent"
}

forget_beside() {
  each forget_file "$TEMPORARY"
}

forget_file() {
  rm -f -- "$1"
}

# switch: the new files take their names, the old ones go; links; one daemon-reload; the ledger.
switch() {
  each switch_file "$DIFFERENT" || return 1
  on_units 60 "$GONE_UNITS" --no-reload disable || :
  each delete_file "$GONE"
  if [ -n "$FOLDERS" ]; then
    IFS=$NL
    # shellcheck disable=SC2086
    sync -- $FOLDERS 2>/dev/null
    IFS=$TAB$NL' '
  fi
  # Before ours are enabled: a host that loses power in between must not boot with both.
  if [ -n "$DISABLE" ]; then
    on_units 60 "$DISABLE" --no-reload disable || fail replace "systemctl disable: $SAID" || return 1
    RELOAD=1
  fi
  if [ -n "$UNMASK" ]; then
    on_units 60 "$UNMASK" --no-reload unmask && on_units 60 "$UNMASK" --no-reload --runtime unmask ||
      fail enable "systemctl unmask: $SAID" || return 1
    RELOAD=1
  fi
  if [ -n "$ENABLE" ]; then
    on_units 60 "$ENABLE" --no-reload enable || fail enable "systemctl enable: $SAID" || return 1
    RELOAD=1
  fi
  [ "$RELOAD" = 0 ] || daemon_reload || return 1
}

switch_file() {
  beside "$1"
  SAID=$(mv -fT -- "$BESIDE" "$1" 2>&1) || fail install "$1: $SAID" || return 1
  command -v restorecon >/dev/null 2>&1 || return 0
  restorecon -F -- "$1" >/dev/null 2>&1
  return 0
}

# delete_file PATH: of this copy and no other; its temporary sibling too.
delete_file() {
  case $NL$OTHERS in *"$TAB$1$TAB"*) return 0 ;; esac
  beside "$1"
  rm -f -- "$1" "$BESIDE"
}

# run: the ledger first, so that a cut from here on is no reason to restart what runs; then the units.
run() {
  LEDGER_WHY=''
  ledger_lines 1
  [ "$OTHERS$LINES" = "$LEDGER" ] || put_ledger "$OTHERS$LINES" || LEDGER_WHY=$WHY
  own || return 1
  on_units 60 "$NEW_UNITS" reset-failed || :
  put_away || return 1
  case $NEED in
    reload) on_units 120 "$MAINS$LENDERS" reload-or-restart &&
      on_units 120 "$TRIGGERED" try-reload-or-restart ||
      fail reload "systemctl reload: $SAID" || return 1 ;;
    restart)
      RESTARTED=$LENDERS
      [ "$STOP" = 1 ] || RESTARTED=$MAINS$LENDERS
      on_units 60 "$RESTARTED" restart --no-block ||
        fail start "systemctl restart: $SAID" || return 1
      ;;
  esac
  on_units 60 "$STARTED" start --no-block || fail start "systemctl start: $SAID" || return 1
  # A unit without ExecReload= was restarted after all, and bears another invocation now.
  [ -z "$RESTAMP" ] || unit_states "$RESTAMP" || return 1
  each stamp_again "$RESTAMP"
  wait_for_jobs
  [ -z "$LEDGER_WHY" ] || fail ledger "$LEDGER_WHY" || return 1
  [ "$RUNTIME" = systemd ] || collect_images "$DS" || :
}

# put_away: stops the units that this copy replaces. The ledger has them already, and they do not come back
# with the next boot: cut here, and the next apply ends it.
put_away() {
  on_units 180 "$AWAY" stop || fail replace "systemctl stop: $SAID" || return 1
  each note_away "$AWAY"
}

note_away() {
  NOTES="${NOTES}note$TAB$1 was stopped and disabled: this copy takes its place$NL"
}

# stamp_again UNIT: it runs on, and all that changed needs no new start.
stamp_again() {
  state_of "$1"
  [ -d "$RUN/stamp" ] || mkdir -p -m 0755 "$RUN/stamp"
  printf '%s %s\n' "$REVISION" "$INVOCATION" >"$RUN/stamp/$1.tmp" &&
    mv -fT -- "$RUN/stamp/$1.tmp" "$RUN/stamp/$1"
}

# wait_for_jobs: until the queue has none of ours, since nobody may reload while a start job runs (P 56).
wait_for_jobs() {
  uptime_s
  END=$((UPTIME + PATIENCE_S))
  for pause in 0.05 0.1 0.2 0.3; do
    has_jobs || return 0
    sleep "$pause"
  done
  while has_jobs && [ "$UPTIME" -lt "$END" ]; do
    sleep 0.5
    uptime_s
  done
}

has_jobs() {
  IFS=$NL
  # shellcheck disable=SC2086
  jobs=$(systemctl show --no-pager -p Job -- $STARTED 2>/dev/null)
  IFS=$TAB$NL' '
  case $jobs in *Job=[1-9]*) return 0 ;; esac
  return 1
}

# check_images: with --pull=never a missing image would leave the host without a copy.
check_images() {
  [ "$RUNTIME" != systemd ] || return 0
  each check_image "$IMAGES"
}

check_image() {
  SAID=$(timeout -k 5 60 "$RUNTIME" image inspect --format '{{.Id}}' -- "$1" 2>&1) ||
    fail image "image $1 is not on this host: $SAID"
}

# close_database: podman keeps the variables of containers, secrets too; since 4.8 in a file that is open to all,
# below a directory that is as well where systemd-tmpfiles made it, at a boot before podman was first used.
close_database() {
  [ "$RUNTIME" = podman ] && [ -n "$SECRETS" ] || return 0
  database=$(timeout -k 5 60 podman info --format '{{.Store.GraphRoot}}' 2>/dev/null)/db.sql
  [ ! -f "$database" ] || SAID=$(chmod 0600 -- "$database" 2>&1) || fail secrets "$SAID"
}
