//! What may live in a Redis (feature `redis`): the queue, and a second layer of the cache.
//!
//! | File | Holds |
//! |---|---|
//! | `link` | where a Redis is, and a connection to its master |
//! | `cache` | the second layer of the cache, what processes tell one another, the counts they share |

mod cache;
mod link;

pub use self::{
    cache::{CacheRedis, Patience},
    link::{Address, is_lost},
};
