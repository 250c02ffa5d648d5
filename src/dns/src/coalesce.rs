//! Equal questions of one container that are under way at once are asked once.
//!
//! So a question that comes back to us, by a server that asks us in turn, waits for itself and ends with it, whatever the
//! loop's length; and nobody can make us ask one thing many times, to guess one of the numbers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::oneshot;

/// What came of it.
pub type Outcome = Option<Rc<Vec<u8>>>;

/// The questions under way, as they are asked.
#[derive(Debug, Default)]
pub struct Flights(RefCell<HashMap<Vec<u8>, Vec<oneshot::Sender<Outcome>>>>);

/// Whoever asked first. When it is dropped, those who wait hear that nothing comes.
struct First<'a>(&'a Flights, Vec<u8>);

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.0.0.borrow_mut().remove(&self.1);
    }
}

impl Flights {
    /// What `ask` comes to, or what another one that asks the same comes to.
    pub async fn share(&self, question: Vec<u8>, ask: impl Future<Output = Option<Vec<u8>>>) -> Outcome {
        if let Some(waiting) = self.join(&question) {
            return waiting.await.ok().flatten();
        }
        let first = First(self, question);
        let outcome = ask.await.map(Rc::new);
        let waiting = self.0.borrow_mut().remove(&first.1).unwrap_or_default();
        for sender in waiting {
            // Whoever waited may have gone meanwhile.
            sender.send(outcome.clone()).ok();
        }
        outcome
    }

    fn join(&self, question: &[u8]) -> Option<oneshot::Receiver<Outcome>> {
        let mut flights = self.0.borrow_mut();
        let Some(waiting) = flights.get_mut(question) else {
            flights.insert(question.to_owned(), Vec::new());
            return None;
        };
        let (sender, receiver) = oneshot::channel();
        waiting.push(sender);
        Some(receiver)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn equal_questions_are_asked_once_and_others_by_themselves() {
        let (flights, asked) = (Flights::default(), Cell::new(0));
        let ask = || async {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            Some(b"answer".to_vec())
        };
        let one = || flights.share(b"one".to_vec(), ask());
        let (first, second, other) = tokio::join!(one(), one(), flights.share(b"two".to_vec(), ask()));
        assert_eq!(asked.get(), 2);
        assert!([first, second, other].iter().all(|got| got.as_deref() == Some(&b"answer".to_vec())));
        one().await;
        assert_eq!(asked.get(), 3);
    }

    #[tokio::test]
    async fn who_waits_for_one_that_has_gone_hears_of_it() {
        let flights = Rc::new(Flights::default());
        let local = tokio::task::LocalSet::new();
        let shared = Rc::clone(&flights);
        let first =
            local.spawn_local(async move { shared.share(b"x".to_vec(), std::future::pending()).await });
        local
            .run_until(async {
                tokio::task::yield_now().await;
                let second = flights.share(b"x".to_vec(), async { unreachable!("there is one under way") });
                let ended = async {
                    tokio::task::yield_now().await;
                    first.abort();
                };
                assert_eq!(tokio::join!(second, ended).0, None);
            })
            .await;
    }
}
