//! What certificate authorities ask for in clear to see that a hostname is ours (HTTP-01, RFC 8555 §8.3).

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use hyper::{Method, StatusCode, http::request::Parts};

use crate::{
    domain::acme::{Challenge, Kind},
    http::{
        host,
        respond::{self, Response},
    },
};

/// Where they ask.
pub(super) const PATH: &str = "/.well-known/acme-challenge/";

/// By hostname and token, the answer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Challenges(Arc<ArcSwap<HashMap<(String, String), String>>>);

impl Challenges {
    /// The answer to an authority; `None`: this is none of what they were promised.
    pub(in crate::app) fn answer(&self, parts: &Parts) -> Option<Response> {
        let token = parts.uri.path().strip_prefix(PATH)?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return None;
        }
        let host = host::host(parts)?.into_owned();
        // An address is known by its shortest form, without brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = bare.parse::<IpAddr>().map_or_else(|_| host.clone(), |it| it.to_string());
        let answer = self.0.load().get(&(host, token.to_owned()))?.clone();
        Some(respond::text(StatusCode::OK, answer))
    }

    /// Answers these from now on, and no others.
    pub(super) fn replace(&self, all: &[Challenge]) {
        let in_clear = all.iter().filter(|it| it.kind == Kind::Http01);
        let answers = in_clear.map(|it| ((it.name.clone(), it.token.clone()), it.answer.clone())).collect();
        self.0.store(Arc::new(answers));
    }
}
