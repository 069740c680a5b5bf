//! The connection to the master: the subscription, the leader's address, events out of the stream.

use std::time::Instant;

use super::{Shell, api_request, resolve};
use crate::libprocess::recordio::Decoder;
use crate::libprocess::{NetworkEvent, RequestId};
use crate::local::execute::scheduler::Event;
use crate::messages::from_v1_json;

/// So many masters may send us on to another before there is an end to it.
const REDIRECTS: u32 = 5;

/// The connection to the master.
#[derive(Debug)]
pub(super) struct Stream {
    request: RequestId,
    body: Vec<u8>,
    status: u16,
    text: Vec<u8>,
    records: Decoder,
    pub(super) id: Option<String>,
    redirects: u32,
}

impl Shell<'_> {
    pub(super) fn subscribe(&mut self, body: Vec<u8>, redirects: u32, now: Instant) {
        let request = self.network.request_stream(self.master, api_request(body.clone()), now);
        self.stream =
            Some(Stream { request, body, status: 0, text: Vec::new(), records: Decoder::new(), id: None, redirects });
    }

    pub(super) fn network_event(&mut self, event: NetworkEvent, now: Instant) {
        match event {
            NetworkEvent::StreamHead { request, status, headers } => {
                let Some(stream) = self.stream.as_mut().filter(|stream| stream.request == request) else {
                    return;
                };
                stream.status = status;
                stream.id = headers.get("Mesos-Stream-Id").map(str::to_string);
                if let (301..=308, Some(location)) = (status, headers.get("Location")) {
                    self.redirected(location.to_string(), now);
                }
            }
            NetworkEvent::StreamData { request, bytes } => {
                if self.stream.as_ref().is_some_and(|stream| stream.request == request) {
                    self.stream_data(&bytes, now);
                }
            }
            NetworkEvent::Response { request, response } => self.answered(request, Ok(response), now),
            NetworkEvent::RequestEnded { request, error } => {
                if self.stream.as_ref().is_some_and(|stream| stream.request == request) {
                    self.stream_ended(error, now);
                } else {
                    let why = error.unwrap_or_else(|| "no answer".to_string());
                    self.answered(request, Err(why), now);
                }
            }
            NetworkEvent::Message { .. }
            | NetworkEvent::Shown { .. }
            | NetworkEvent::Request { .. }
            | NetworkEvent::Closed { .. }
            | NetworkEvent::Exited { .. } => {}
        }
    }

    /// A master that does not lead names the one that does: `Location: //host:port/path`.
    fn redirected(&mut self, location: String, now: Instant) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        self.network.cancel(stream.request);
        let text = location.trim_start_matches("http:").trim_start_matches('/');
        let host = text.split('/').next().unwrap_or_default();
        let leader = resolve(host);
        match leader {
            Ok(leader) if stream.redirects < REDIRECTS => {
                self.master = leader;
                self.subscribe(stream.body, stream.redirects + 1, now);
            }
            Ok(_) => self.handle(Event::Lost("each master names another as the leader".to_string()), now),
            Err(why) => self.handle(Event::Lost(format!("it names a leader that cannot be found: {why}")), now),
        }
    }

    fn stream_data(&mut self, bytes: &[u8], now: Instant) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if stream.status != 200 {
            let room = 1024usize.saturating_sub(stream.text.len());
            stream.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        stream.records.push(bytes);
        loop {
            let record = self.stream.as_mut().map(|stream| stream.records.next());
            let event = match record {
                None | Some(Ok(None)) => return,
                Some(Ok(Some(record))) => {
                    from_v1_json("mesos.v1.scheduler.Event", &record).map_err(|error| error.to_string())
                }
                Some(Err(error)) => Err(error.to_string()),
            };
            match event {
                Ok(event) => self.handle(Event::Master(Box::new(event)), now),
                Err(why) => {
                    self.drop_stream();
                    return self.handle(Event::Lost(format!("it sent what is no event: {why}")), now);
                }
            }
        }
    }

    fn drop_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.network.cancel(stream.request);
        }
    }

    fn stream_ended(&mut self, error: Option<String>, now: Instant) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let text = String::from_utf8_lossy(&stream.text).trim().to_string();
        let why = match (stream.status, error) {
            (0, Some(error)) if error.starts_with(&self.master.to_string()) => error,
            (0, Some(error)) => format!("{}: {error}", self.master),
            (0, None) => format!("{} closed the connection", self.master),
            (200, Some(error)) => error,
            (200, None) => "it closed the connection".to_string(),
            (status, _) => format!("{} answers {status} {text}", self.master),
        };
        self.handle(Event::Lost(why), now);
    }
}
