//! What may live in a Redis (feature `redis`): the queue, and a second layer of the cache.
//!
//! | File | Holds |
//! |---|---|
//! | `queue` | the queue port |
//! | `link` | where a Redis is, and a connection to its master |
//! | `cache` | the second layer of the cache, what processes tell one another, the counts they share |

mod cache;
mod link;
mod queue;

pub use self::{
    cache::{CacheRedis, Patience},
    link::{Address, is_lost},
    queue::{Limits, QueueRedis, Wish, claim, clear, look},
};
