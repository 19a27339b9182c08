# Makes one copy what the bundle says, or finds that it is.
#
# Order: receive and check the whole body; look; verify; lock; fence; write the intent into the ledger; put the
# new files beside the old ones; stop the old copy by the old text (P 64); rename; enable; one daemon-reload; write
# the ledger; start; wait for the job. What can fail for want of space or rights fails before the stop.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_apply() {
  begin
  APPLIED=1 MADE=''
  apply && APPLIED=0
  if [ "$RUNTIME" = systemd ]; then finish "$APPLIED" 0; else finish "$APPLIED" 1; fi
}

apply() {
  receive || return 1
  fence && read_ledger || return 1
  look && check && verify || return 1
  enter || return 1
  # Another order may have come between: look again, now that nobody else can.
  look && check || return 1
  decide || return 1
  [ "$WORK" = 1 ] || return 0
  change && run
}

# receive: the body, whole and checked, into a directory of its own; then its lines and files.
receive() {
  FLEET='' RUNTIME=systemd
  mkdir -p -m 0700 "$STATE" "$STATE/stage" || fail transfer "cannot make $STATE/stage" || return 1
  find "$STATE/stage" -mindepth 1 -maxdepth 1 -mmin +60 -exec rm -rf -- {} + 2>/dev/null
  STAGE=$STATE/stage/$NONCE
  mkdir -m 0700 "$STAGE" || fail transfer "cannot make $STAGE" || return 1
  SAID=$(head -c "$SIZE" 2>&1 >"$STAGE/body")
  sum=$(sha256sum <"$STAGE/body")
  if [ "${sum%% *}" != "$DIGEST" ]; then
    fail transfer "the order did not arrive whole, or cannot be kept: ${SAID:-sha256 differs}"
    return 1
  fi
  CHECKS='' USERS='' DIRS='' IMAGES='' CONTAINERS='' REPLACES=''
  UNITS='' STARTED='' MAINS='' TARGETS='' LENDERS='' TRIGGERS='' TRIGGERED=''
  PATIENCE_S=100
  FILES='' SECRETS='' VALUES='' COUNT=0
  exec 3<"$STAGE/body"
  while IFS=$TAB read -r kind a b c d e f g h <&3; do
    [ "$kind" != data ] || break
    receive_line
  done
  receive_files
  exec 3<&-
}

receive_line() {
  case $kind in
    apply) FLEET=$a KEY=$b ORDER_TERM=$c ;;
    copy) DS=$a SLOT=$b REVISION=$c BUNDLE=$d RUNTIME=$e STOP_S=$f MODE=$g HOME_DIR=$h ;;
    check) CHECKS="$CHECKS$a$TAB$b$NL" ;;
    user) USERS="$USERS$a$TAB$b$TAB$c$TAB$d$NL" ;;
    dir) DIRS="$DIRS$a$TAB$b$NL" ;;
    image) IMAGES="$IMAGES$a$NL" ;;
    container) CONTAINERS="$CONTAINERS$a$NL" ;;
    replace) REPLACES="$REPLACES$a$NL" ;;
    unit) receive_unit ;;
    value)
      plain "$b"
      VALUES="$VALUES$a=$PLAIN$NL"
      ;;
    file)
      FILES="$FILES$a$TAB$b$TAB$c$TAB$d$TAB$e$TAB$f$NL"
      [ "$g" = inline ] || SECRETS="$SECRETS$a$NL"
      ;;
  esac
}

receive_unit() {
  UNITS="$UNITS$a$TAB$b$TAB$c$NL"
  # What a timer or a socket starts is started by nobody else.
  [ "$b" = triggered ] || STARTED="$STARTED$a$NL"
  case $b in
    trigger) TRIGGERS="$TRIGGERS$a$NL" ;;
    triggered) TRIGGERED="$TRIGGERED$a$NL" ;;
    main) MAINS="$MAINS$a$NL" ;;
    init)
      # A restart of the copy runs it again; it may take its time, and nobody waits for it here.
      MAINS="$MAINS$a$NL"
      PATIENCE_S=5
      ;;
    target) TARGETS="$TARGETS$a$NL" ;;
    borrowed) LENDERS="$LENDERS$a$NL" ;;
  esac
}

# receive_files: takes the bytes of each file, adds host.env, and sets WANTED to
# `path mode owner group on-change number sha256`.
receive_files() {
  PATHS='' BARE=''
  each receive_file "$FILES" || fail transfer "the order's files cannot be kept" || return 1
  COUNT=$((COUNT + 1))
  printf '%s' "$VALUES" >"$STAGE/$COUNT" || fail transfer "no room for host.env" || return 1
  BARE="$BARE$HOME_DIR/host.env${TAB}600${TAB}root${TAB}root${TAB}nothing$TAB$COUNT$NL"
  PATHS="$PATHS$HOME_DIR/host.env$NL"
  set --
  number=0
  while [ "$number" -lt "$COUNT" ]; do
    number=$((number + 1))
    set -- "$@" "$STAGE/$number"
  done
  SUMS=$(sha256sum -- "$@")$NL
  WANTED=''
  each receive_sum "$BARE"
}

receive_file() {
  COUNT=$((COUNT + 1))
  head -c "$6" <&3 >"$STAGE/$COUNT" || return 1
  case $1 in
    "$UNIT_DIR"/*) [ "$6" != 0 ] || return 1 ;;
  esac
  BARE="$BARE$1$TAB$2$TAB$3$TAB$4$TAB$5$TAB$COUNT$NL"
  PATHS="$PATHS$1$NL"
}

receive_sum() {
  WANTED="$WANTED$line$TAB${SUMS%% *}$NL"
  SUMS=${SUMS#*"$NL"}
}

# look: how the host differs from the bundle. Sets DIFFERENT (files to install), CONTENT (restart, reload,
# nothing, or empty when no content differs), GONE (files of the ledger to delete), OLD_UNITS, STATES, and
# FORMER: how units of the host that the ledger does not have yet were before us.
look() {
  split_ledger "$DS" "$SLOT"
  IFS=$NL
  # shellcheck disable=SC2086
  set -- $PATHS
  IFS=$TAB$NL' '
  HERE=$(sha256sum -- "$@" 2>/dev/null)$NL
  RIGHTS=$(stat -c "%n$TAB%a %U %G$TAB$NL%n$TAB%a %u %g$TAB" -- "$@" 2>/dev/null)$NL
  DIFFERENT='' CONTENT='' UNIT_TEXTS=0
  each look_at_file "$WANTED"
  column file 4 "$MINE"
  GONE=''
  each look_for_gone "$COLUMN"
  column unit 4 "$MINE"
  OLD_UNITS=$COLUMN
  NEW_UNITS=''
  each look_at_unit "$UNITS"
  GONE_UNITS=''
  each look_for_gone_unit "$OLD_UNITS"
  unit_states "$NEW_UNITS$GONE_UNITS$REPLACES" || return 1
  FORMER=''
  each look_at_lender "$LENDERS"
  each look_at_replaced "$REPLACES"
}

# look_at_file PATH MODE OWNER GROUP ON_CHANGE NUMBER SHA256
look_at_file() {
  same=0
  if [ -f "$1" ] && [ ! -L "$1" ] && has "$HERE" "$7  $1"; then
    same=1
    case $NL$RIGHTS in
      *"$NL$1$TAB$2 $3 $4$TAB"*) return 0 ;;
    esac
  fi
  DIFFERENT=$DIFFERENT$line$NL
  case $1 in "$UNIT_DIR"/*) UNIT_TEXTS=1 ;; esac
  [ "$same" = 0 ] || return 0
  change=$5
  # The first drop-in at a unit of the host's own is a mark: what runs there need not stop for it.
  case $1 in "$UNIT_DIR"/*.d/50-fleetd-*) [ -e "$1" ] || change=nothing ;; esac
  case $CONTENT$change in
    *restart*) CONTENT=restart ;;
    *reload*) CONTENT=reload ;;
    *) CONTENT=nothing ;;
  esac
}

look_at_lender() {
  case $NL$MINE in *"${NL}borrowed$TAB$DS$TAB$SLOT$TAB$1$TAB"*) return 0 ;; esac
  state_of "$1"
  FORMER="${FORMER}borrowed$TAB$DS$TAB$SLOT$TAB$1$TAB$FILE_STATE$TAB$ACTIVE$NL"
}

# look_at_replaced UNIT: a copy in the other slot knows better than the host how it was.
look_at_replaced() {
  case $NL$MINE in *"${NL}replaced$TAB$DS$TAB$SLOT$TAB$1$TAB"*) return 0 ;; esac
  known=$NL$OTHERS
  case $known in
    *"${NL}replaced$TAB$DS$TAB"[ab]"$TAB$1$TAB"*)
      known=${known#*"${NL}replaced$TAB$DS$TAB"[ab]"$TAB$1$TAB"}
      known=${known%%"$NL"*}
      ;;
    *)
      state_of "$1"
      # A unit that was linked into place is unlinked when it is disabled: only its path brings it back.
      place=$(readlink -f -- "$UNIT_DIR/$1") || place=''
      case $place in /etc/* | /run/* | /usr/lib/* | /lib/* | /dev/*) place='' ;; esac
      known=$FILE_STATE$TAB$ACTIVE$TAB${place:--}
      ;;
  esac
  FORMER="${FORMER}replaced$TAB$DS$TAB$SLOT$TAB$1$TAB$known$NL"
}

look_for_gone() {
  has "$PATHS" "$1" || GONE="$GONE$1$NL"
}

look_at_unit() {
  NEW_UNITS="$NEW_UNITS$1$NL"
}

look_for_gone_unit() {
  has "$NEW_UNITS" "$1" || GONE_UNITS="$GONE_UNITS$1$NL"
}

# check: the preconditions, all problems at once; nothing is touched.
check() {
  PROBLEMS=''
  case $HOME_DIR in
    *..*) exit 3 ;;
    "$STATE"/w/*/"$SLOT") ;;
    *) exit 3 ;;
  esac
  if [ "$RUNTIME" != systemd ] && ! command -v "$RUNTIME" >/dev/null 2>&1; then
    problem "$RUNTIME is not installed"
  fi
  case $SLOT in a) other=b ;; *) other=a ;; esac
  case $NL$LEDGER in
    *"${NL}copy$TAB$DS$TAB$other$TAB$REVISION$TAB"*)
      problem "slot $other holds a copy of revision $REVISION already: two of one revision never run" ;;
  esac
  each check_one "$CHECKS"
  each check_file "$DIFFERENT"
  each check_user "$USERS"
  each check_replaced "$REPLACES"
  [ -z "$PROBLEMS" ] || fail check "${PROBLEMS#; }"
}

problem() {
  PROBLEMS="$PROBLEMS; $1"
}

check_one() {
  case $1 in
    directory) [ -d "$2" ] || problem "$2 is not a directory" ;;
    file) [ -f "$2" ] || problem "$2 is not a file" ;;
    socket) [ -S "$2" ] || problem "$2 is not a socket" ;;
    char-device) [ -c "$2" ] || problem "$2 is not a character device" ;;
    block-device) [ -b "$2" ] || problem "$2 is not a block device" ;;
    make-directory) [ -d "$2" ] || [ ! -e "$2" ] || problem "$2 is there and not a directory" ;;
    make-file) [ -f "$2" ] || [ ! -e "$2" ] || problem "$2 is there and not a file" ;;
    unit-exists)
      state_of "$2"
      [ "$LOAD" != not-found ] || problem "there is no unit $2 on this host"
      ;;
  esac
}

# check_file PATH ...: what is there must be ours, of this DaemonSet, or equal.
check_file() {
  if [ -d "$1" ] && [ ! -L "$1" ]; then
    problem "$1 is a directory"
    return 0
  fi
  case $NL$LEDGER in *"${NL}file$TAB$DS$TAB"[ab]"$TAB$1$TAB"*) return 0 ;; esac
  case $NL$LEDGER in
    *"$TAB$1$TAB"*)
      problem "$1 belongs to another DaemonSet on this host"
      return 0
      ;;
  esac
  case $1 in "$HOME_DIR"/* | "$UNIT_DIR"/fleetd-* | "$UNIT_DIR"/*.d/50-fleetd-*) return 0 ;; esac
  if [ -e "$1" ] && ! has "$HERE" "$7  $1"; then
    problem "$1 is there and is not fleetd's; move it away"
  fi
}

check_user() {
  id -u -- "$1" >/dev/null 2>&1 || command -v systemd-sysusers >/dev/null 2>&1 ||
    command -v useradd >/dev/null 2>&1 ||
    problem "user $1 is missing, and so are systemd-sysusers and useradd"
}

# check_replaced UNIT: it is nobody else's, and nothing that stays starts it again.
check_replaced() {
  HOLDER='' SOUGHT=$1
  case $1 in fleetd-*) HOLDER=fleetd ;; esac
  each check_holder "$LEDGER"
  if [ -n "$HOLDER" ]; then
    problem "$SOUGHT cannot be replaced: it belongs to $HOLDER"
    return 0
  fi
  IFS=' '
  starters=$(systemctl show --no-pager -p TriggeredBy -- "$SOUGHT" 2>/dev/null)
  for starter in ${starters#TriggeredBy=}; do
    has "$REPLACES" "$starter" || ! systemctl is-active --quiet -- "$starter" ||
      problem "$SOUGHT is started by $starter; replace that one too"
  done
}

# check_holder KIND DS SLOT UNIT: another DaemonSet that runs it, or has replaced it already.
check_holder() {
  [ "$2" != "$DS" ] && [ "$4" = "$SOUGHT" ] || return 0
  case $1 in unit | replaced) HOLDER="DaemonSet $2" ;; esac
}

# verify: asks systemd about new unit texts, away from where they will be (P 66).
verify() {
  command -v systemd-analyze >/dev/null 2>&1 || return 0
  mkdir -p "$STAGE/verify" || fail verify "cannot make $STAGE/verify" || return 1
  SUSPECTS='' ROOTED=0
  each verify_copy "$DIFFERENT"
  [ -n "$SUSPECTS" ] || return 0
  IFS=$NL
  # shellcheck disable=SC2086
  said=$(timeout -k 5 30 systemd-analyze verify --man=no $SUSPECTS 2>&1 >/dev/null)
  COMPLAINTS=''
  for line in $said; do
    case $line in
      *'Special user'* | *obsolete* | *legacy* | *unsafe* | *deprecated* | *marked*) ;;
      *'will be removed'* | *'Support for option'*) ;;
      *'is not executable'*) verify_command "$line" ;;
      *"$STAGE/verify/"*) COMPLAINTS="$COMPLAINTS; ${line#*"$STAGE/verify/"}" ;;
      fleetd-*) COMPLAINTS="$COMPLAINTS; $line" ;;
    esac
  done
  IFS=$TAB$NL' '
  [ -z "$COMPLAINTS" ] || fail verify "${COMPLAINTS#; }"
}

# verify_command COMPLAINT: a command that is neither here nor delivered would never start.
verify_command() {
  command=${1#*Command }
  command=${command%% is not executable*}
  has "$PATHS" "$command" || [ "$ROOTED" = 1 ] || COMPLAINTS="$COMPLAINTS; $1"
}

verify_copy() {
  name=${1#"$UNIT_DIR/"}
  case $name in */*) return 0 ;; esac
  # Units ask for one another: all of the bundle that change stand together.
  cp -- "$STAGE/$6" "$STAGE/verify/$name" && chmod 0644 "$STAGE/verify/$name" || return 0
  SUSPECTS="$SUSPECTS$STAGE/verify/$name$NL"
  # With a root of its own, its commands are looked for there.
  ! grep -q '^Root\(Directory\|Image\) *=' "$STAGE/verify/$name" || ROOTED=1
}

# decide: sets WORK (something to do), DISK (something to do to files or links) and NEED: start what is not
# active, restart, or reload. STOP=1: stop the old copy before its files change.
decide() {
  NEED=start STOP=0 RELOAD=$UNIT_TEXTS WORK=0 DISK=0 ENABLE='' UNMASK='' INACTIVE=0 RESTAMP=''
  AWAY='' DISABLE=''
  column copy 7 "$MINE"
  case $CONTENT:$COLUMN in
    restart:* | *:0*) NEED=restart STOP=1 ;;
    reload:*) NEED=reload ;;
  esac
  if [ "$MODE" = restart ]; then
    NEED=restart
    # A restart would start what waits for its timer or socket.
    [ -z "$TRIGGERS" ] || STOP=1
  fi
  each decide_unit "$UNITS"
  [ -z "$GONE$GONE_UNITS" ] || RELOAD=1
  [ -z "$GONE_UNITS" ] || NEED=restart STOP=1
  [ -z "$DIFFERENT$GONE$GONE_UNITS$ENABLE$UNMASK" ] || DISK=1
  each decide_check "$CHECKS"
  each decide_user "$USERS"
  each decide_directory "$DIRS"
  each decide_replaced "$REPLACES"
  [ -z "$FORMER$AWAY" ] || DISK=1
  ledger_lines 1
  [ "$NEED$RELOAD$INACTIVE$DISK$STOP$RESTAMP" = start0000 ] || WORK=1
  [ "$LINES" = "$MINE" ] || WORK=1
}

decide_check() {
  case $1 in make-*) [ -e "$2" ] || DISK=1 ;; esac
}

decide_user() {
  id -u -- "$1" >/dev/null 2>&1 || DISK=1
}

decide_directory() {
  [ -d "$1" ] || DISK=1
}

# decide_replaced UNIT: what it takes to put it away; what no boot starts by itself is only stopped.
decide_replaced() {
  state_of "$1"
  case $FILE_STATE in enabled | enabled-runtime) DISABLE="$DISABLE$1$NL" ;; esac
  case $FILE_STATE:$ACTIVE in
    enabled:* | enabled-runtime:* | *:active | *:activating | *:reloading | *:refreshing) AWAY="$AWAY$1$NL" ;;
  esac
}

# decide_unit UNIT ROLE ENABLE
decide_unit() {
  state_of "$1"
  case $FILE_STATE in
    enabled | static | generated | indirect | alias) ;;
    masked*) UNMASK="$UNMASK$1$NL" ENABLE="$ENABLE$1$NL" ;;
    *) [ "$3" = 0 ] || ENABLE="$ENABLE$1$NL" ;;
  esac
  [ "$NEED_RELOAD" != yes ] || RELOAD=1
  case $ACTIVE in
    active | reloading | refreshing) ;;
    inactive | failed)
      [ "$2" = triggered ] || INACTIVE=1
      return 0
      ;;
    *) return 0 ;;
  esac
  case $2 in main | triggered) ;; *) return 0 ;; esac
  stamp=''
  [ ! -r "$RUN/stamp/$1" ] || IFS=' ' read -r stamp _ <"$RUN/stamp/$1"
  [ "$stamp" != "$REVISION" ] || return 0
  # It was started by another revision. That is in order only if what differs now needs no restart.
  case $NEED:$CONTENT in
    start:nothing | reload:*) RESTAMP="$RESTAMP$1$NL" ;;
    *) NEED=restart STOP=1 ;;
  esac
}
