//! Calls of a registry that are about no object: who asks, and its administration.

use std::time::Duration;

use object_store::client::HttpRequestBody;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{Address, Client, Refused};
use crate::{
    error::{Error, Result},
    store::{Connection, bucket::Throttle},
};

/// How long a registry may take for an answer: these are small.
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// A registry, asked one thing at a time. Nothing is tried twice.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    runtime: Runtime,
}

impl Registry {
    /// The registry that an `https://` URL names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it names none; [`Error::Storage`].
    pub fn connect(url: &str, connection: &Connection) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::storage("async runtime"))?;
        Ok(Self { client: Client::new(url, connection, &Throttle::unlimited())?, runtime })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.client.address
    }

    /// Asks for something below `/v1/`.
    ///
    /// # Errors
    /// What the registry answers; [`Error::Storage`] if it cannot be reached.
    pub fn get(&self, call: &str) -> Result<Value> {
        self.call("GET", call, None)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub fn post(&self, call: &str, body: &Value) -> Result<Value> {
        self.call("POST", call, Some(body))
    }

    fn call(&self, method: &str, call: &str, body: Option<&Value>) -> Result<Value> {
        let asked = async {
            let content = body.map_or_else(HttpRequestBody::empty, |body| body.to_string().into_bytes().into());
            let mut request = self.client.request(method, &format!("/v1/{call}"), content)?;
            if body.is_some() {
                let json = "application/json".parse().map_err(|_| Refused::unfit("no media type").into_store())?;
                request.headers_mut().insert("content-type", json);
            }
            Client::body(self.client.send(request).await?, MAX_ANSWER).await
        };
        let origin = self.client.address.origin();
        let timely = async {
            let late = |_| Refused::unfit(format!("no answer within {} seconds", PATIENCE.as_secs())).into_store();
            tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
        };
        let bytes = self.runtime.block_on(timely).map_err(|error| match Refused::within(&error) {
            Some(refused) => refused.about(origin),
            None => Error::storage(origin)(std::io::Error::from(error)),
        })?;
        let unfit = |error: serde_json::Error| Error::storage(origin)(std::io::Error::other(error));
        serde_json::from_slice(&bytes).map_err(unfit)
    }
}
