# Tells the owner with the fleet's key, for a coordinator that lost its state.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_adopt() {
  FLEET=''
  read_body adopt_asked || exit 3
  if read_owner; then
    [ "$OWNER_KEY" != - ] || OWNER_KEY=''
    part key 0 "${OWNER_KEY:+$OWNER_KEY$NL}"
    FLEET=$OWNER_FLEET
  else
    part key 1 "$STATE/owner is not whole$NL"
  fi
  observe 1 1
}

adopt_asked() {
  :
}
