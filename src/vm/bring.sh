# Behind what brings the fetched files, in the sandbox: files that the guest has, as its command names them.

fail() {
    printf "Failed to fetch '%s': %s\n" "$uri" "$1" >&2
    exit 66
}

# Keeps the first line of what a program said in $words; gzip begins with an empty one.
first() {
    words=${words#"$newline"}
    words=${words%%"$newline"*}
}
newline='
'

# take URI PATH OUTPUT FINISH INTO: PATH has the name OUTPUT in the sandbox, and is made executable, unpacked, or decompressed into INTO.
take() {
    uri=$1 path=$2 output=$3
    [ -e "$path" ] || fail "the guest has no $path, which --vm_path_map says it has; put it into the image, or change the map"
    case $output in */*) mkdir -p "./${output%/*}" 2>/dev/null || fail "the sandbox has something else on the way to $output" ;; esac
    words=$(rm -f "./$output" 2>&1 && ln -s "$path" "./$output" 2>&1) || { first; fail "$path cannot be linked: $words"; }
    case $4 in
        executable) [ -x "$path" ] || words=$(chmod a+x "$path" 2>&1) || { first; fail "$words"; } ;;
        unpack)
            case $path in
                *.zip) words=$(unzip -oq "$path" 2>&1) ;;
                *) words=$(tar -xf "$path" 2>&1) ;;
            esac || { first; fail "$path in the guest is not unpacked: $words"; } ;;
        gunzip) words=$(rm -f "./$5" 2>&1 && gzip -dc <"$path" 2>&1 >"./$5") || { first; fail "$path in the guest is not unpacked: $words"; } ;;
    esac
}

