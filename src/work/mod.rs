//! Background work: jobs from the queues and tasks that compare wanted with actual.
