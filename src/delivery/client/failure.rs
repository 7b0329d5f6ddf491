//! What kind of failure an error is, by the types in its chain, and how it is said.

use std::{error::Error, fmt::Write as _, io, time::Duration};

use rustix::io::Errno;

use super::resolve::ResolveError;
use crate::{
    delivery::{
        address::Refused,
        verdict::{Met, Outcome},
    },
    store::Cause,
};

/// An error of whatever library met it.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// An exchange that came to nothing, and how far it was.
#[derive(Debug)]
pub(super) struct Trouble {
    stage: Stage,
    error: BoxError,
}

/// How far an exchange was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// On the way to a connection.
    Connect,
    /// On an open connection, before the head of the answer.
    Exchange,
    /// After it.
    Answer,
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn new(stage: Stage, error: impl Into<BoxError>) -> Self {
        Self { stage, error: error.into() }
    }

    /// On the way to a connection that may take this long. Whichever clock on that way ran out,
    /// it is called the same.
    pub(super) fn connecting(error: impl Into<BoxError>, limit: Duration) -> Self {
        let error = error.into();
        if links(&*error).any(is_late) {
            Self::late(limit)
        } else {
            Self::new(Stage::Connect, error)
        }
    }

    /// No connection in time.
    pub(super) fn late(limit: Duration) -> Self {
        let late = format!("no connection within {limit:?}");
        Self::new(Stage::Connect, io::Error::new(io::ErrorKind::TimedOut, late))
    }

    /// What an attempt that ended like this came to.
    pub(super) fn outcome(&self) -> Outcome {
        let met = match self.classify() {
            Some(cause) => Met::Failed(cause),
            None => Met::NotMade,
        };
        Outcome { met, error: Some(self.describe()), snippet: None }
    }

    /// The cause; `None` where the relay itself lacked what an attempt takes.
    pub(super) fn classify(&self) -> Option<Cause> {
        let error: &(dyn Error + 'static) = &*self.error;
        if links(error).any(is_local) {
            None
        } else if links(error).any(<dyn Error>::is::<rustls::Error>)
            || (self.stage == Stage::Exchange && links(error).any(is_alert_in_words))
        {
            // Also after the connection: TLS 1.3 refuses a client's certificate as late as that.
            Some(Cause::Tls)
        } else if links(error).any(is_refusal) {
            Some(Cause::Denied)
        } else if links(error).any(<dyn Error>::is::<ResolveError>) {
            Some(Cause::Dns)
        } else if self.stage == Stage::Connect {
            Some(Cause::Connect)
        } else {
            Some(links(error).find_map(in_exchange).unwrap_or(Cause::Reset))
        }
    }

    /// The chain in words.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        let mut said = String::new();
        for link in links(&*self.error) {
            // It says only that a request was being sent, and its URL may hold a secret.
            if link.is::<reqwest::Error>() {
                continue;
            }
            let words = link.to_string();
            // A wrapper often repeats what it wraps.
            if !words.is_empty() && words != said {
                let colon = if text.is_empty() { "" } else { ": " };
                // Writing to a String cannot fail.
                write!(text, "{colon}{words}").unwrap_or_default();
                said = words;
            }
        }
        if text.is_empty() {
            text.push_str("the request could not be sent");
        }
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
        text
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Self::new(Stage::Connect, refused)
    }
}

fn is_refusal(link: &(dyn Error + 'static)) -> bool {
    link.is::<Refused>() || matches!(link.downcast_ref(), Some(ResolveError::Refused(_)))
}

/// Whether a clock of ours ran out; that of the system has a number of its own.
fn is_late(link: &(dyn Error + 'static)) -> bool {
    match link.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none(),
        // The type of its own is hidden.
        None => link.downcast_ref().is_some_and(reqwest::Error::is_timeout),
    }
}

/// Whether this was an error of TLS: of one that ends all requests on a connection, HTTP/2 keeps
/// the kind and the words. Before the head of an answer, nothing else is of that kind.
fn is_alert_in_words(link: &(dyn Error + 'static)) -> bool {
    link.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// What a link of the chain says of an exchange on an open connection.
fn in_exchange(link: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = link.downcast_ref::<hyper::Error>() {
        if error.is_timeout() {
            Some(Cause::Timeout)
        } else if error.is_parse() || error.is_user() {
            Some(Cause::Protocol)
        } else {
            // The more precise word, if there is one, is further down the chain.
            (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
                .then_some(Cause::Reset)
        }
    } else if let Some(error) = link.downcast_ref::<h2::Error>() {
        // What the other side calls off is a reset, whatever it calls the reason.
        error.is_library().then_some(Cause::Protocol)
    } else {
        let error = link.downcast_ref::<io::Error>()?;
        match error.kind() {
            io::ErrorKind::TimedOut => Some(Cause::Timeout),
            // A body whose chunks are not chunks.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Some(Cause::Protocol),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Some(Cause::Reset),
            _ => None,
        }
    }
}

/// Whether the system refused the relay what every connection needs, whoever it goes to. Only
/// what is surely that: a lack that is in truth the target's address would defer for ever.
fn is_local(link: &(dyn Error + 'static)) -> bool {
    link.downcast_ref::<io::Error>().and_then(Errno::from_io_error).is_some_and(|errno| {
        matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    })
}

/// An error and what caused it, outermost first. An `io::Error` that wraps another names as its
/// source that one's source, so the wrapped one is looked up instead.
fn links<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&link: &&'e (dyn Error + 'static)| {
        match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => link.source(),
        }
    })
    .take(LINKS_MAX)
}

/// Deeper than any chain we have seen; a chain that leads back to itself ends here.
const LINKS_MAX: usize = 16;

/// What the store keeps of an error's words.
const ERROR_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_found_however_deep_and_is_no_fault_of_the_target() {
        let lack = || io::Error::from(Errno::MFILE);
        let wrapped = io::Error::other(io::Error::other(lack()));

        assert!(links(&lack()).any(is_local));
        assert!(links(&wrapped).any(is_local));
        for refusal in [Errno::CONNREFUSED, Errno::ADDRNOTAVAIL, Errno::HOSTUNREACH] {
            assert!(!links(&io::Error::from(refusal)).any(is_local));
        }
    }
}
