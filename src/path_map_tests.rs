//! Paths that people write in commands, and random texts that are made of pieces whose fate is known.

use super::*;
use crate::properties::{SEQUENCES, below, numbers, shortened};

fn map(mappings: &[&str]) -> PathMap {
    let mut map = PathMap::default();
    for mapping in mappings {
        map.add(mapping.parse().expect("mapping")).expect("added");
    }
    map
}

#[test]
fn whole_components_are_mapped_and_nothing_else() {
    let map = map(&["/opt/spark:/usr/lib/spark"]);
    for (path, mapped) in [
        ("/opt/spark", Some("/usr/lib/spark")),
        ("/opt/spark/", Some("/usr/lib/spark/")),
        ("/opt/spark/bin/x", Some("/usr/lib/spark/bin/x")),
        ("/opt/spark2", None),
        ("/opt/spark-1/bin", None),
        ("/opt", None),
        ("/a/opt/spark", None),
        ("opt/spark", None),
    ] {
        assert_eq!(map.path(path).as_deref(), mapped, "{path}");
        assert_eq!(map.text(path), mapped.unwrap_or(path), "{path}");
    }
}

#[test]
fn a_command_names_paths_in_many_ways() {
    let map = map(&["/opt/spark:/S"]);
    for (text, mapped) in [
        ("cd /opt/spark; bin/x", "cd /S; bin/x"),
        ("cd /opt/spark&&./x|/opt/spark/y>/opt/spark/z", "cd /S&&./x|/S/y>/S/z"),
        ("\"/opt/spark/bin/x\" '/opt/spark/a b'", "\"/S/bin/x\" '/S/a b'"),
        ("\"/opt/spark\"/bin/x", "\"/S\"/bin/x"),
        ("sh -c \"x \\\"/opt/spark\\\"\"", "sh -c \"x \\\"/S\\\"\""),
        ("HOME=/opt/spark PATH=$PATH:/opt/spark/bin:/opt/spark", "HOME=/S PATH=$PATH:/S/bin:/S"),
        ("--home='/opt/spark' --jars=/opt/spark/a,/opt/spark/b", "--home='/S' --jars=/S/a,/S/b"),
        ("$(cat /opt/spark/x) `/opt/spark/y` x=`ls /opt/spark`", "$(cat /S/x) `/S/y` x=`ls /S`"),
        ("(/opt/spark/x)\n/opt/spark/y\t{/opt/spark,/opt/spark2}", "(/S/x)\n/S/y\t{/S,/opt/spark2}"),
        ("{\"a\":[\"/opt/spark\"]} ${X:-/opt/spark}/bin", "{\"a\":[\"/S\"]} ${X:-/S}/bin"),
        ("x file:///opt/spark/conf file://localhost/opt/spark", "x file:///S/conf file://localhost/S"),
        ("curl -d@/opt/spark/x <<</opt/spark", "curl -d@/S/x <<</S"),
    ] {
        assert_eq!(map.text(text), mapped);
    }
}

#[test]
fn a_path_that_belongs_to_another_word_stays() {
    let map = map(&["/opt/spark:/S"]);
    for text in [
        "",
        "$HOME/opt/spark ${HOME}/opt/spark \"$HOME\"/opt/spark \"$HOME/\"opt/spark",
        "./opt/spark ../opt/spark ~/opt/spark a/opt/spark x\"/opt/spark\" //opt/spark",
        "hdfs://host/opt/spark hdfs:///opt/spark http://h:80/opt/spark",
        "`pwd`/opt/spark $(pwd)/opt/spark",
        "/opt/spark2 /opt/spark-1 /opt/spark.bak /opt/spark_x /opt/spark$V /opt/spark*",
        "\"/opt/spark\"2 '/opt/spark'$V /opt/spark\\ x /opt/spark\u{e9}",
        "/opt//spark /opt/./spark /OPT/spark",
        "a:b c=d ; & | / \u{1f600}/\u{1f600}",
    ] {
        assert_eq!(map.text(text), text);
    }
}

#[test]
fn the_longest_prefix_wins_in_any_order_and_is_put_in_once() {
    let mappings = ["/a:/b", "/a/b:/c", "/b:/a", "/a/b/c:/"];
    for turn in 0..mappings.len() {
        let turned = [&mappings[turn..], &mappings[..turn]].concat();
        let map = map(&turned);
        assert_eq!(map.text("/a/x /a/b/x /b/x /a/b/c/x /a/b/c /a/bc"), "/b/x /c/x /a/x /x / /b/bc", "{turned:?}");
    }
    let same = map(&["/a:/a", "/a/b:/c", "/a:/a"]);
    assert_eq!(same.path("/a/x").as_deref(), Some("/a/x"), "it is mapped, though to itself");
    assert_eq!(same.mappings().count(), 2);
}

#[test]
fn what_is_no_mapping_says_what_to_write() {
    for (text, words) in [
        ("", "is not HOST:GUEST; write two absolute paths with one ':' between them"),
        ("/a", "'/a' is not HOST:GUEST"),
        ("/a:", "'/a:' is not HOST:GUEST"),
        (":/a", "':/a' is not HOST:GUEST"),
        ("/a:/b:/c", "'/a:/b:/c' is not HOST:GUEST"),
        ("a:/b", "the host's path 'a' is not absolute; begin it with '/'"),
        ("/a:b", "the guest's path 'b' is not absolute"),
        (" /a:/b", "the host's path ' /a' is not absolute"),
        ("/a/../b:/c", "holds '..', '.' or '//'; write it without"),
        ("/a:/b/.", "holds '..'"),
        ("/a//b:/c", "holds '..'"),
        ("/:/c", "the host's path '/' is everything; name the directories"),
        ("//:/c", "is everything"),
        ("/a b:/c", "a shell may read otherwise"),
        ("/a:/$(b)", "a shell may read otherwise"),
        ("/a:/b'", "a shell may read otherwise"),
    ] {
        let error = text.parse::<Mapping>().expect_err(text).to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    let long = format!("/a:/{}", "x".repeat(1024));
    assert!(long.parse::<Mapping>().expect_err("long").to_string().contains("longer than 1024 bytes"));
    let mut twice = map(&["/a:/b"]);
    let error = twice.add("/a/:/c".parse().expect("mapping")).expect_err("twice").to_string();
    assert!(error.starts_with("/a:/c contradicts /a:/b"), "{error}");
    let mut many = PathMap::default();
    let mut add = |number: usize| many.add(format!("/a{number}:/b").parse().expect("mapping"));
    (0..MOST).for_each(|number| add(number).expect("added"));
    assert_eq!(add(MOST), Err(PathMapError::TooMany));
}

#[test]
fn a_container_goes_by_the_same_map() {
    let map = map(&["/a:/b", "/a/b/c:/", "/a/b:/c"]);
    assert_eq!(PathMap::of(&Spec { path_map: map.to_proto(), ..Default::default() }), map);
    assert_eq!(map.to_string(), "/a/b/c:/,/a/b:/c,/a:/b", "as it may be given again");
}

/// A word of a command: what it is, what it is to be, and what separates it from the one before.
type Piece = (&'static str, &'static str, &'static str);

/// Mappings one of which is another's prefix, and whose results are others' prefixes.
const MAPPINGS: [&str; 5] = ["/a:/a/b", "/a/b:/c", "/a/b/c:/x", "/c:/a", "/long/est:/a/b/c"];

const WORDS: [(&str, &str); 20] = [
    ("/a", "/a/b"),
    ("/a/", "/a/b/"),
    ("/a/b", "/c"),
    ("/a/b/c", "/x"),
    ("/a/b/cc", "/c/cc"),
    ("/a/bb", "/a/b/bb"),
    ("/aa", "/aa"),
    ("/c/d", "/a/d"),
    ("/long/est/a", "/a/b/c/a"),
    ("/long", "/long"),
    ("x", "x"),
    ("--x=/a/b", "--x=/c"),
    ("\"/a\"", "\"/a/b\""),
    ("'/a'/b", "'/a/b'/b"),
    ("\"/a\"b", "\"/a\"b"),
    ("$X/a", "$X/a"),
    ("\"$X\"/a", "\"$X\"/a"),
    ("hdfs://h/a", "hdfs://h/a"),
    ("file:///a", "file:///a/b"),
    ("\u{fc}/a", "\u{fc}/a"),
];

const BETWEEN: [&str; 9] = [" ", "\n", "\t", ";", ",", " && ", "|", " (", ") "];

fn pieces(seed: u64) -> Vec<Piece> {
    let mut random = numbers(seed);
    let count = 1 + below(&mut random, 12);
    let mut piece = || {
        let (word, mapped) = WORDS[below(&mut random, WORDS.len())];
        (word, mapped, BETWEEN[below(&mut random, BETWEEN.len())])
    };
    (0..count).map(|_| piece()).collect()
}

/// Why a text made of the pieces is not mapped word by word, if so; `turn`: the order of the mappings.
fn wrong(pieces: &[Piece], turn: usize) -> Option<String> {
    let mut mappings = MAPPINGS;
    mappings.rotate_left(turn % MAPPINGS.len());
    let join = |which: fn(&Piece) -> &'static str| -> String {
        pieces.iter().map(|piece| format!("{}{}", which(piece), piece.2)).collect()
    };
    let (text, expected) = (join(|piece| piece.0), join(|piece| piece.1));
    let mapped = map(&mappings).text(&text);
    (mapped != expected).then(|| format!("{text:?} became {mapped:?}, not {expected:?}"))
}

#[test]
fn each_word_of_a_random_command_is_mapped_by_itself_in_whatever_order_the_map_is_given() {
    for seed in 0..SEQUENCES {
        let turn = seed as usize;
        let made = pieces(seed);
        if wrong(&made, turn).is_some() {
            let short = shortened(&|pieces| wrong(pieces, turn).is_some(), made);
            panic!("seed {seed}: {}", wrong(&short, turn).unwrap_or_default());
        }
    }
}

/// What a text is made of here is cut anywhere: paths, quotes and separators meet as they should not.
#[test]
fn a_random_text_is_changed_only_where_it_has_a_mapped_path_and_there_and_back_is_the_same() {
    const PARTS: [&str; 14] = ["/", "m", "/m", "/m/n", "'", "\"", "\\", "`", " ", ":", "=", "$", "\u{e9}", "file://"];
    let (there, back) = (map(&["/m:/never/seen"]), map(&["/never/seen:/m"]));
    let same = map(&["/m:/m"]);
    let mut changed = 0;
    for seed in 0..SEQUENCES {
        let mut random = numbers(seed);
        let count = below(&mut random, 20);
        let text: String = (0..count).map(|_| PARTS[below(&mut random, PARTS.len())]).collect();
        let mapped = there.text(&text);
        assert_eq!(mapped.replace("/never/seen", "/m"), text, "seed {seed}: only prefixes are replaced");
        assert_eq!(back.text(&mapped), text, "seed {seed}: {mapped:?}");
        assert_eq!(same.text(&text), text, "seed {seed}");
        assert_eq!(PathMap::default().text(&text), text, "seed {seed}");
        changed += usize::from(mapped != text);
    }
    assert!(changed > SEQUENCES as usize / 10, "{changed}");
}
