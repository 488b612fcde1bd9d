# Dumps the database into a file, reads it through once, and removes what is too old: in this order, so that a
# backup that fails takes none of the earlier ones away. A file has its name when it is whole.
set -eu
umask 077

# libpq refuses a file of passwords that its group may read, which is how Kubernetes mounts one.
export PGPASSFILE="${BACKUP_SCRATCH:-/tmp}/pgpass"
password=$(sed 's/[\\:]/\\&/g' "$BACKUP_PASSWORD_FILE")
printf '*:*:*:*:%s\n' "$password" > "$PGPASSFILE"

target="$BACKUP_FOLDER/backbone-$(date -u +%Y%m%dT%H%M%SZ).dump"
rm -f "$BACKUP_FOLDER"/*.part
pg_dump --no-password --format=custom --file="$target.part" --dbname="$BACKUP_DSN"
pg_restore --file=/dev/null "$target.part"
mv "$target.part" "$target"
find "$BACKUP_FOLDER" -name 'backbone-*.dump' -mtime "+$BACKUP_KEEP_DAYS" -delete
echo "$target: $(wc -c < "$target") bytes"
