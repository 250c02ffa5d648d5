//! What a call is answered with.

use bytes::Bytes;
use casemate_engine::{Failure, Kind};
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// The body of an answer. An error breaks the connection off: the client sees that the answer is not whole.
pub type Content = UnsyncBoxBody<Bytes, std::io::Error>;

/// An answer.
#[derive(Debug)]
pub struct Answer(pub Response<Content>);

impl Answer {
    /// Nothing but a status.
    pub fn empty(status: StatusCode) -> Self {
        Self::bytes(status, None, Bytes::new())
    }

    /// JSON, with the line feed that Docker's has.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let mut body = match serde_json::to_vec(value) {
            Ok(body) => body,
            Err(error) => return Self::failure(&Failure::failed(format!("answer: {error}"))),
        };
        body.push(b'\n');
        Self::bytes(status, Some("application/json"), body.into())
    }

    /// 200 with JSON.
    pub fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 204
    pub fn done() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    /// Bytes of some kind.
    pub fn bytes(status: StatusCode, kind: Option<&'static str>, body: Bytes) -> Self {
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let answer = Self(response);
        match kind {
            Some(kind) => answer.header(CONTENT_TYPE, HeaderValue::from_static(kind)),
            None => answer,
        }
    }

    /// 200 with pieces as they come, each sent at once. The head goes out before the first of them.
    pub fn stream<S>(kind: &'static str, pieces: S) -> Self
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data)));
        Self(Response::new(BodyExt::boxed_unsync(body))).header(CONTENT_TYPE, HeaderValue::from_static(kind))
    }

    /// One header more.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// What Docker answers to a failure.
    pub fn failure(failure: &Failure) -> Self {
        let status = match failure.kind {
            Kind::NotModified => return Self::empty(StatusCode::NOT_MODIFIED),
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::json(status, &serde_json::json!({ "message": failure.message }))
    }
}
