# Grants each line of /etc/backbone/kafka-acls; a grant that is there already stays as it is.
while read -r principal kind pattern operations names; do
  case $principal in '' | '#'*) continue ;; esac
  options=()
  for operation in ${operations//,/ }; do options+=(--operation "$operation"); done
  for name in $names; do options+=("--$kind" "$name"); done
  # Its input is not the list's.
  /opt/kafka/bin/kafka-acls.sh --bootstrap-server kafka:9092 --command-config /secrets/client.properties --force \
    --add --allow-principal "User:$principal" --resource-pattern-type "$pattern" "${options[@]}" </dev/null
done </etc/backbone/kafka-acls
