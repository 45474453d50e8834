//! What may live in a Redis (feature `redis`): the queue, and a second layer of the cache.
//!
//! | File | Holds |
//! |---|---|
//! | `link` | where a Redis is, and a connection to it |
//! | `queue` | the queue port |

mod link;
mod queue;

pub use self::{
    link::Address,
    queue::{QueueRedis, Wish},
};
