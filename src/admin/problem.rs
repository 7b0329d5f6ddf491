//! What the API answers when it does not do what it was asked: RFC 9457, one shape for all.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// Why a request was not done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The HTTP status.
    status: u16,
    /// A word for programs: `not_found`, `invalid`, `unauthorized`, `not_ready`, …
    reason: &'static str,
    /// The status in words.
    title: &'static str,
    /// A sentence for people, with the remedy where there is one.
    detail: String,
    /// More of it, such as the problems of relay.toml.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    more: Option<serde_json::Value>,
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self { status: status.as_u16(), reason, title, detail: detail.into(), more: None }
    }

    /// 422: understood, and not possible as it was said.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 409: whoever answers was not handed what the operation needs; a running relay is.
    pub(super) fn not_offered(what: &str) -> Self {
        let detail = format!("only a running relay offers {what}");
        Self::new(StatusCode::CONFLICT, "not_offered", detail)
    }

    pub(super) fn with(mut self, more: serde_json::Value) -> Self {
        self.more = Some(more);
        self
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::ReadOnly => StatusCode::CONFLICT,
            StoreError::Io(_) | StoreError::Unstorable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        // The cause is for the log: it may name files of this machine.
        let detail = match &error {
            StoreError::Io(_) | StoreError::Unstorable(_) => {
                tracing::error!(%error, "an operator's question failed");
                "the store failed; the log says why".to_owned()
            }
            told => told.to_string(),
        };
        Self::new(status, error.reason(), detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"hookswitch\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
