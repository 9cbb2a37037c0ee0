#!/usr/bin/env bash
# Both pharmacies by curl, against the root app. Start it first: make serve
#   PESTLE_URL, PESTLE_APP_ID, PESTLE_MASTER_KEY: where it is; the defaults are those of make serve.
set -euo pipefail

URL=${PESTLE_URL:-http://localhost:1337/parse}
APP=${PESTLE_APP_ID:-pestle}
KEYS=$(dirname "$0")/../.pestle/keys.json
MASTER=${PESTLE_MASTER_KEY:-$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["masterKey"])' "$KEYS")}
RUN=$(date +%s)-$$

# call TOKEN METHOD PATH [BODY]: print the answer. TOKEN is a session token, "master" or "".
call() {
  local who=()
  if [ "$1" = master ]; then
    who=(-H "X-Parse-Master-Key: $MASTER")
  elif [ -n "$1" ]; then
    who=(-H "X-Parse-Session-Token: $1")
  fi
  curl -sS -X "$2" "$URL$3" -H "X-Parse-Application-Id: $APP" "${who[@]}" \
    ${4:+-H "Content-Type: application/json" --data "$4"}
}

# pick KEY...: print one value of the JSON on stdin.
pick() {
  python3 -c '
import json, sys
text = sys.stdin.read()
value = json.loads(text)
try:
    for key in sys.argv[1:]:
        value = value[int(key) if isinstance(value, list) else key]
except (KeyError, IndexError):
    sys.exit(f"no {sys.argv[1:]} in {text}")
print(value)' "$@"
}

pointer() { printf '{"__type":"Pointer","className":"%s","objectId":"%s"}' "$1" "$2"; }

say() { printf '\n== %s\n' "$*"; }

expect() { # expect WHAT WANTED GOT
  [ "$2" = "$3" ] || { echo "FAILED: $1: wanted $2, got $3" >&2; exit 1; }
  echo "ok: $1"
}

sign_up() { call "" POST /users "{\"username\":\"$1-$RUN\",\"password\":\"secret-$RUN\"}"; }

say "People: a patient, another patient, and a provider appointed with the master key"
SIGNED_UP=$(sign_up alice)
ALICE=$(pick objectId <<<"$SIGNED_UP")
MALLORY=$(sign_up mallory | pick sessionToken)
SIGNED_UP=$(sign_up peter)
PETER=$(pick objectId <<<"$SIGNED_UP")
PROVIDER=$(pick sessionToken <<<"$SIGNED_UP")
call master POST /functions/assignRole "{\"userId\":\"$PETER\",\"role\":\"provider\"}" | pick result role

say "Home delivery: the patient logs in"
PATIENT=$(call "" POST /login "{\"username\":\"alice-$RUN\",\"password\":\"secret-$RUN\"}" | pick sessionToken)
PROFILE=$(call "$PATIENT" POST /classes/PatientProfile \
  "{\"medicalRecordNumber\":\"MRN-$RUN\",\"displayName\":\"Alice\"}" | pick objectId)
echo "profile $PROFILE"

say "A prescription is for its own patient"
call "" POST /classes/Prescription '{"medicationName":"Ibuprofen","dosage":"400 mg"}' | pick code
PRESCRIPTION=$(call "$PATIENT" POST /classes/Prescription \
  '{"medicationName":"Ibuprofen","dosage":"400 mg"}' | pick objectId)
expect "the status is filled in" pending \
  "$(call "$PATIENT" GET "/classes/Prescription/$PRESCRIPTION" | pick status)"
expect "another patient does not see it" 101 \
  "$(call "$MALLORY" GET "/classes/Prescription/$PRESCRIPTION" | pick code)"

say "Its delivery"
DELIVERY=$(call "$PATIENT" POST /classes/Delivery \
  "{\"prescription\":$(pointer Prescription "$PRESCRIPTION"),\"deliveryAddress\":\"1 Main Street\"}" |
  pick objectId)
expect "the patient cannot move it" 119 \
  "$(call "$PATIENT" PUT "/classes/Delivery/$DELIVERY" '{"status":"out_for_delivery"}' | pick code)"
expect "no step is left out" 142 \
  "$(call "$PROVIDER" PUT "/classes/Delivery/$DELIVERY" '{"status":"delivered"}' | pick code)"
call "$PROVIDER" PUT "/classes/Delivery/$DELIVERY" '{"status":"out_for_delivery"}' | pick updatedAt
call "$PROVIDER" PUT "/classes/Delivery/$DELIVERY" '{"status":"delivered"}' | pick deliveredAt iso
expect "each move made a notification" 2 \
  "$(call "$PATIENT" GET "/classes/Notification?count=1&limit=0" | pick count)"

say "The signature"
IMAGE=$(curl -sS -X POST "$URL/files/signature.png" -H "X-Parse-Application-Id: $APP" \
  -H "X-Parse-Session-Token: $PATIENT" -H "Content-Type: image/png" \
  --data-binary "signed by Alice" | pick name)
SIGNATURE="{\"delivery\":$(pointer Delivery "$DELIVERY"),\"signatureImage\":{\"__type\":\"File\",\"name\":\"$IMAGE\"}}"
expect "another patient cannot sign" 101 \
  "$(call "$MALLORY" POST /classes/Signature "$SIGNATURE" | pick code)"
call "$PATIENT" POST /classes/Signature "$SIGNATURE" | pick objectId
expect "nobody signs twice" 137 "$(call "$PATIENT" POST /classes/Signature "$SIGNATURE" | pick code)"

say "Benefits: the provider keeps the catalogue"
MEDICATION=$(call "$PROVIDER" POST /classes/Medication \
  "{\"medicationName\":\"Ibuprofen $RUN\"}" | pick objectId)
COPAY=$(call "$PROVIDER" POST /classes/CopayDetails \
  "{\"medication\":$(pointer Medication "$MEDICATION"),\"amount\":12.35}" | pick objectId)
PLAN=$(call "$PROVIDER" POST /classes/InsurancePlan \
  "{\"provider\":\"Acme\",\"planName\":\"Gold\",\"copayAmounts\":[$(pointer CopayDetails "$COPAY")]}" |
  pick objectId)
expect "a patient does not" 119 \
  "$(call "$PATIENT" POST /classes/Medication '{"medicationName":"Free gold"}' | pick code)"

say "The dashboard: profile and coverage"
call "$PATIENT" PUT "/classes/PatientProfile/$PROFILE" \
  "{\"insurancePlans\":[$(pointer InsurancePlan "$PLAN")]}" | pick updatedAt
find() { # find TOKEN CLASS WHERE
  curl -sS -G "$URL/classes/$2" -H "X-Parse-Application-Id: $APP" \
    -H "X-Parse-Session-Token: $1" --data-urlencode "where=$3"
}
expect "the profile of the user" "$PROFILE" \
  "$(find "$PATIENT" PatientProfile "{\"user\":$(pointer _User "$ALICE")}" | pick results 0 objectId)"
expect "the plans of the profile" "$PLAN" \
  "$(find "$PATIENT" InsurancePlan "{\"patients\":$(pointer PatientProfile "$PROFILE")}" | pick results 0 objectId)"

say "What it costs"
expect "the co-pay" 12.35 \
  "$(call "$PATIENT" POST /functions/calculateCopay "{\"medicationId\":\"$MEDICATION\"}" | pick result amount)"
expect "nothing without a session" 142 \
  "$(call "" POST /functions/calculateCopay "{\"medicationId\":\"$MEDICATION\"}" | pick code)"
call "$PROVIDER" POST /classes/Formulary \
  "{\"drug\":\"Ibuprofen $RUN\",\"covered\":true,\"tier\":\"1\"}" | pick objectId
expect "the formulary" 1 \
  "$(call "$PATIENT" POST /functions/checkFormulary "{\"medicationId\":\"$MEDICATION\"}" | pick result tier)"

say "A secure message"
MESSAGE=$(call "$PATIENT" POST /classes/Message \
  "{\"conversationId\":\"c-$RUN\",\"body\":\"With food?\",\"to\":$(pointer _User "$PETER")}" | pick objectId)
expect "nobody else reads it" 101 "$(call "$MALLORY" GET "/classes/Message/$MESSAGE" | pick code)"
expect "the sender does not mark it" 101 \
  "$(call "$PATIENT" PUT "/classes/Message/$MESSAGE" '{"isRead":true}' | pick code)"
call "$PROVIDER" PUT "/classes/Message/$MESSAGE" '{"isRead":true}' | pick updatedAt

say "The audit trail"
ENTRY=$(call master GET "/classes/AuditLog?limit=1&where=%7B%22entityId%22%3A%22$DELIVERY%22%7D" |
  pick results 0 objectId)
expect "a patient does not read it" 119 "$(call "$PATIENT" GET /classes/AuditLog | pick code)"
expect "nobody changes it" 119 \
  "$(call master PUT "/classes/AuditLog/$ENTRY" '{"summary":"nothing happened"}' | pick code)"
expect "nobody deletes it" 119 "$(call master DELETE "/classes/AuditLog/$ENTRY" | pick code)"

say "Done"
