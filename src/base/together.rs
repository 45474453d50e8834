//! Several futures at once, in one task: nothing is spawned, and all end with the caller.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// A place for a future, and then for what it gave.
enum Seat<'a, T> {
    Waits(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
    Done(Option<T>),
}

/// Waits for all of them; what they gave, in their order. For a handful: each wakes all.
pub async fn all<'a, T: Send + Unpin + 'a>(
    futures: impl IntoIterator<Item = Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
) -> Vec<T> {
    let mut seats: Vec<Seat<'a, T>> = futures.into_iter().map(Seat::Waits).collect();
    poll_fn(|context| {
        let mut waits = false;
        for seat in &mut seats {
            if let Seat::Waits(future) = seat {
                match future.as_mut().poll(context) {
                    Poll::Ready(gave) => *seat = Seat::Done(Some(gave)),
                    Poll::Pending => waits = true,
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let gave = seats.into_iter().map(|it| match it {
        Seat::Done(gave) => gave,
        Seat::Waits(_) => None,
    });
    gave.flatten().collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn they_wait_beside_one_another_and_keep_their_order() {
        let (first, got_first) = oneshot::channel();
        let (second, got_second) = oneshot::channel();
        let one: Pin<Box<dyn Future<Output = u8> + Send>> = Box::pin(async {
            // Only the other one, which comes later, lets this one end.
            let number = got_second.await.unwrap();
            first.send(number + 1).unwrap();
            number
        });
        let other: Pin<Box<dyn Future<Output = u8> + Send>> = Box::pin(async {
            second.send(4).unwrap();
            got_first.await.unwrap()
        });
        assert_eq!(all([one, other]).await, [4, 5]);
        assert!(all::<u8>(Vec::new()).await.is_empty());
    }
}
