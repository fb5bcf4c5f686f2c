//! Writes to its state and then misbehaves, on request: what the router's promises about state are tested with. The event's data says
//! what to do, as text: `set <key> <value>`, which may be followed by `trap`, `retry`, `reject` or `spin`; `get <key>`; `fill <n>`, which
//! writes keys until it is refused or has written so many; `keys`, which counts all keys over all pages; `hold`, which opens buckets
//! until it is refused. What came of it is emitted as a JSON text on `seen`.

use saf_channel::{Emission, Event, Failure};

saf_channel::handler!(handle);

fn handle(event: Event) -> Result<Emission, Failure> {
    let text = String::from_utf8(event.data).map_err(|error| Failure::reject(error.to_string()))?;
    let seen = state::perform(&text)?;
    let json = serde_json::to_vec(&seen).map_err(|error| Failure::reject(error.to_string()))?;
    Ok(Emission::new("seen", json).with_content_type("application/json"))
}

#[cfg(target_arch = "wasm32")]
mod state {
    use saf_channel::Failure;

    #[allow(warnings)]
    mod bindings {
        wit_bindgen::generate!({ path: "wit", world: "imports" });
    }

    use bindings::wasi::keyvalue::store::{self, Bucket, Error};

    /// Does what the text says; returns what to emit.
    pub fn perform(text: &str) -> Result<String, Failure> {
        let bucket = store::open("").map_err(failure)?;
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            ["set", key, value] => {
                bucket.set(key, value.as_bytes()).map(|()| "set".to_owned()).map_err(failure)
            }
            ["set", key, value, end] => {
                bucket.set(key, value.as_bytes()).map_err(failure)?;
                misbehave(end)
            }
            ["get", key] => get(&bucket, key),
            ["delete", key] => bucket.delete(key).map(|()| "deleted".to_owned()).map_err(failure),
            ["fill", count] => Ok(fill(&bucket, count.parse().unwrap_or(u32::MAX))),
            ["keys"] => keys(&bucket).map(|keys| keys.to_string()),
            ["hold"] => Ok(hold()),
            _ => Err(Failure::reject(format!("what is {text:?}?"))),
        }
    }

    fn misbehave(how: &str) -> Result<String, Failure> {
        match how {
            "trap" => panic!("after writing"),
            "retry" => Err(Failure::retry("after writing")),
            "spin" => loop {
                std::hint::black_box(());
            },
            _ => Err(Failure::reject("after writing")),
        }
    }

    fn get(bucket: &Bucket, key: &str) -> Result<String, Failure> {
        let value = bucket.get(key).map_err(failure)?;
        Ok(value.map_or("none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn fill(bucket: &Bucket, count: u32) -> String {
        for n in 0..count {
            if let Err(error) = bucket.set(&format!("fill-{n}"), b"x") {
                return format!("{n}: {}", words(&error));
            }
        }
        count.to_string()
    }

    fn keys(bucket: &Bucket) -> Result<usize, Failure> {
        let (mut count, mut cursor) = (0, None);
        loop {
            let page = bucket.list_keys(cursor.as_deref()).map_err(failure)?;
            count += page.keys.len();
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(count);
            }
        }
    }

    fn hold() -> String {
        let mut held = Vec::new();
        loop {
            match store::open("") {
                Ok(bucket) => held.push(bucket),
                Err(error) => return words(&error),
            }
        }
    }

    fn failure(error: Error) -> Failure {
        Failure::retry(words(&error))
    }

    fn words(error: &Error) -> String {
        match error {
            Error::NoSuchStore => "no such store".to_owned(),
            Error::AccessDenied => "access denied".to_owned(),
            Error::Other(text) => text.clone(),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod state {
    use saf_channel::Failure;

    pub fn perform(_: &str) -> Result<String, Failure> {
        Err(Failure::retry("state is there only inside a router"))
    }
}
