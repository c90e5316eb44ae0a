#!/bin/sh
# Fetch Apache Kafka with Maven into one folder of jars, so that tests and benchmarks run on a real broker.
# Without it they run on the embedded one. Does nothing when the jars are there; ends with 1, and says why, when
# they cannot be had. HAZFENCE_KAFKA_JARS names another folder, HAZFENCE_KAFKA_FETCH_S another time limit.
set -u

pom=$(dirname "$0")/kafka/pom.xml
folder=${HAZFENCE_KAFKA_JARS-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/hazfence/kafka}
limit_s=${HAZFENCE_KAFKA_FETCH_S:-180}

not_fetched() {
    echo "Apache Kafka not fetched, the embedded broker takes its place: $1" >&2
    exit 1
}

[ -n "$folder" ] || not_fetched "HAZFENCE_KAFKA_JARS is empty"
cmp -s "$pom" "$folder/pom.xml" && exit 0
command -v java >/dev/null 2>&1 || not_fetched "there is no java (Debian: apt-get install default-jre-headless)"
command -v mvn >/dev/null 2>&1 || not_fetched "there is no mvn (Debian: apt-get install maven)"

mkdir -p "$(dirname "$folder")" 2>/dev/null || not_fetched "cannot write to $(dirname "$folder")"
fresh=$(mktemp -d "$folder.XXXXXX") || not_fetched "cannot write to $(dirname "$folder")"
trap 'rm -rf "$fresh"' EXIT
trap 'exit 130' INT TERM

echo "fetching Apache Kafka (jars, about 45 MB) into $folder" >&2
timeout "$limit_s" mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies \
    "-DoutputDirectory=$fresh" -DincludeScope=runtime >"$fresh/log" 2>&1 </dev/null
status=$?
[ $status -ne 124 ] || not_fetched "Maven did not end within $limit_s s"
[ $status -eq 0 ] || not_fetched "$(grep -m 1 ERROR "$fresh/log" || echo "mvn ended with status $status")"
rm "$fresh/log"
cp "$pom" "$fresh/pom.xml" && rm -f "$folder/pom.xml" "$folder"/*.jar && mkdir -p "$folder" &&
    mv "$fresh"/*.jar "$folder" && mv "$fresh/pom.xml" "$folder" || not_fetched "cannot write to $folder"
