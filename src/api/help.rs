//! `/help`: which endpoints there are, in Markdown, as libprocess lists them (`src/help.cpp`).

use super::bad_request;
use crate::libprocess::{Request, Response};

/// Stands for the slave's own name, `slave(1)`.
const SLAVE: &str = "slave";

/// Process, endpoint below it, and what it is for. What is the slave's is also there without its name before it.
const ENDPOINTS: [(&str, &str, &str); 15] = [
    ("files", "browse", "The entries of the directory at `path=`."),
    ("files", "debug", "All virtual paths, and the directories behind them."),
    ("files", "download", "The file at `path=`, whole."),
    ("files", "read", "A piece of the file at `path=`, from `offset=`, at most `length=` bytes."),
    ("metrics", "snapshot", "All metrics, each a number."),
    (SLAVE, "api/v1", "Calls of operators (v1)."),
    (SLAVE, "api/v1/executor", "Calls of executors (v1)."),
    (SLAVE, "containerizer/debug", "Operations on containers that do not end."),
    (SLAVE, "containers", "Containers with their status and what they take of the host; one, with `container_id=`."),
    (SLAVE, "flags", "The flags in force."),
    (SLAVE, "health", "An empty answer, while the slave works."),
    (SLAVE, "monitor/statistics", "What each executor's container takes of the host."),
    (SLAVE, "state", "All that the slave knows: frameworks, executors, tasks, resources."),
    ("system", "stats.json", "The host's CPUs, load and memory."),
    ("version", "", "Version and build."),
];

/// The page of a topic: none, a process, or an endpoint of a process.
pub(super) fn page(topic: &[&str], own_name: &str, request: &Request) -> Response {
    let shown = |id: &'static str| if id == SLAVE { own_name } else { id };
    let topics: Vec<(&str, &str, &str)> = ENDPOINTS.iter().map(|(id, name, text)| (shown(id), *name, *text)).collect();
    let text = match topic {
        [] => Some(list("## HELP", topics.iter().map(|(id, ..)| ((*id).to_string(), format!("help/{id}"))))),
        [id] if topics.iter().any(|(each, ..)| each == id) => {
            let below = topics.iter().filter(|(each, name, _)| each == id && !name.is_empty());
            Some(list(
                &format!("## `/{id}` ##"),
                below.map(|(id, name, _)| (format!("{id}/{name}"), format!("{id}/{name}"))),
            ))
        }
        [id, name @ ..] => {
            let name = name.join("/");
            let found = topics.iter().find(|(each, each_name, _)| each == id && *each_name == name);
            found.map(|(id, name, text)| format!("### USAGE ###\n>        /{id}/{name}\n\n### TL;DR; ###\n{text}\n"))
        }
    };
    let Some(text) = text else {
        return bad_request(&format!("No help available for '/{}'.\n", topic.join("/")));
    };
    // Browsers would rather save Markdown than show it.
    let by_hand =
        request.headers.get("User-Agent").is_some_and(|agent| agent.starts_with("curl") || agent.starts_with("HTTPie"));
    Response::ok(if by_hand { "text/x-markdown" } else { "text/plain; charset=utf-8" }, text)
}

/// A list of links, and where each leads.
fn list(title: &str, links: impl Iterator<Item = (String, String)>) -> String {
    let mut links: Vec<(String, String)> = links.collect();
    links.dedup();
    let lines: String = links.iter().map(|(name, _)| format!("> [/{name}][{name}]\n")).collect();
    let targets: String = links.iter().map(|(name, to)| format!("[{name}]: {to}\n")).collect();
    format!("{title}\n{lines}\n{targets}")
}
