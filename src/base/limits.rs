//! Every limit of the product, each with its reason beside the number.

/// Entries of one deployment: more is a mistake (`node_modules`) far more often than a site.
pub const SITE_FILES_MAX: usize = 50_000;
/// Unpacked bytes of one deployment.
pub const SITE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Bytes of one uploaded archive: as many as a site may have, since archives only shrink.
pub const ARCHIVE_BYTES_MAX: u64 = SITE_BYTES_MAX;
/// An archive may unpack to at most this many times its own size …
pub const ARCHIVE_RATIO_MAX: u64 = 100;
/// … once it has unpacked to more than this: small text compresses well and hurts nobody.
pub const ARCHIVE_RATIO_FREE_BYTES: u64 = 32 * 1024 * 1024;
/// One framed upload of several blobs: small enough to be sent again after a lost connection.
pub const BLOBS_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One framed upload of a single blob that is larger than that: a file as large as a site may be, and its head.
pub const BLOB_BODY_BYTES_MAX: u64 = SITE_BYTES_MAX + 40;
/// Bytes of a path in a manifest (INTEGRITY §2).
pub const PATH_BYTES_MAX: usize = 1024;
/// Bytes of one segment of such a path: what file systems take.
pub const SEGMENT_BYTES_MAX: usize = 255;
/// Bytes of `_headers`, `_redirects` and `chainhost.toml` each: thousands of rules.
pub const POLICY_FILE_BYTES_MAX: usize = 512 * 1024;
/// Languages of one rule: each is compared with that of a visitor.
pub const POLICY_LANGUAGES_MAX: usize = 50;
/// Rules of one kind in one deployment; each request may look at all of them.
pub const POLICY_RULES_MAX: usize = 2_000;
/// Stars of one pattern: matching costs path × pattern however many there are, and nobody reads more.
pub const POLICY_STARS_MAX: usize = 4;
/// Placeholders of a pattern in which one is only a part of a segment: matching costs path × placeholders.
pub const POLICY_NAMES_MAX: usize = 16;
/// Other servers that the rules of one deployment may pass requests on to: each has connections and a standing of its own.
pub const POLICY_UPSTREAMS_MAX: usize = 32;
/// Bytes of the target of a redirect: what every browser takes in its address bar.
pub const POLICY_TARGET_BYTES_MAX: usize = 2_048;
/// Bytes of the headers of one rule: clients give up on heads of more than 16 KiB.
pub const POLICY_HEADER_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the headers that all rules together give one path: as above …
pub const POLICY_PATH_HEADER_BYTES_MAX: usize = 16 * 1024;
/// … and their number: many clients and proxies take 100 in all, and the host adds some.
pub const POLICY_PATH_HEADERS_MAX: usize = 64;
/// Characters looked at to match all files with the header rules that may fit them: about a second, a few for the worst.
pub const POLICY_STEPS_MAX: u64 = 500_000_000;
/// A JSON body of the API, but for a list of files.
pub const JSON_BODY_BYTES_MAX: usize = 1024 * 1024;
/// The JSON list of files of a deployment: 50,000 entries of about 200 bytes.
pub const FILES_BODY_BYTES_MAX: usize = 24 * 1024 * 1024;
/// A form of the panel without a file.
pub const FORM_BODY_BYTES_MAX: usize = 64 * 1024;
/// A form of the settings of a site: 64 KiB of settings at most, of which a browser writes a character as three, with names of fields.
pub const SITE_SETTINGS_FORM_BYTES_MAX: usize = 384 * 1024;
/// Rows of one page of a list in the API.
pub const PAGE_ROWS_MAX: u32 = 200;
/// All request headers together.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Milliseconds until a client must have sent its request headers.
pub const HEADER_READ_MS_MAX: u64 = 10_000;
/// Open connections of one client address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;
/// Open connections in all: each costs about 12 KiB when idle.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Streams of one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 128;
/// Bytes a second that a request's body must bring: less is no client that anybody waits for (CONTRACTS §5) …
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 1024;
/// … averaged over so many milliseconds, so that a bad line may stand still for a while.
pub const BODY_WINDOW_MS: u64 = 30_000;
/// Uploads of one key or session at once: the client sends two, and a few builds may share a key.
pub const UPLOADS_OF_ONE_MAX: usize = 16;
/// Uploads in all at once: each may hold half a MiB of its body and some files open.
pub const UPLOADS_MAX: usize = 128;
/// Seconds after which an upload that found no place is tried again.
pub const UPLOAD_RETRY_S: u64 = 5;
/// Bytes written between two looks at the free space.
pub const DISK_LOOK_BYTES: u64 = 4 * 1024 * 1024;
/// A connection that asks nothing for so long is closed.
pub const IDLE_MS_MAX: u64 = 75_000;
/// Milliseconds that requests under way get to end in after the sign to stop.
pub const SHUTDOWN_GRACE_MS: u64 = 10_000;
/// Files up to this size are served from verified memory. Larger ones the system sends for less from their pages.
pub const MEMORY_FILE_BYTES_MAX: u64 = 128 * 1024;
/// The same where files are not mapped, but read for each answer.
pub const READ_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of verified files kept in memory.
pub const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A compressed form above this size is not served: it would push too much else out of verified memory.
pub const MEMORY_VARIANT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Memory for manifests with their prepared headers: some hundred sites of usual size.
pub const MANIFEST_BYTES_MAX: u64 = 96 * 1024 * 1024;
/// A compressed variant must save at least this share in percent, or it is not kept.
pub const VARIANT_SAVING_PERCENT_MIN: u64 = 5;
/// Files above this size get no variants: compressing them would hold a worker for too long.
pub const VARIANT_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Deployments kept for each site, besides the live one and the one before it.
pub const DEPLOYMENTS_KEPT: u32 = 20;
/// A blob that no manifest names is removed when it is older than this.
pub const BLOB_GRACE_MS: i64 = 24 * 3_600_000;
/// An upload that was not finished is given up after this.
pub const UPLOAD_MS_MAX: i64 = 24 * 3_600_000;
/// What a job has done once is remembered for so long: dead letters can be run again for 30 days after a last try of days.
pub const EFFECT_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// The name of a deleted site rests for so long before another may take it.
pub const NAME_REST_MS: i64 = 30 * 24 * 3_600_000;
/// Jobs of one tenant that may wait at once.
pub const JOBS_WAITING_MAX: u64 = 2_000_000;
/// Bytes of a job's payload: ids and small settings only.
pub const JOB_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the key that makes a job unique: a word and an id.
pub const JOB_UNIQUE_BYTES_MAX: usize = 200;
/// Jobs that one job may wait for: the steps of one build.
pub const JOB_AFTER_MAX: usize = 16;
/// Schedules of one tenant.
pub const SCHEDULES_MAX: i64 = 200;
/// Missed runs of one schedule that are made up for: more at once would only crowd the queue.
pub const SCHEDULE_MISSED_MAX: usize = 100;
/// Sign-in tries of one address or one account in [`SIGN_IN_WINDOW_MS`].
pub const SIGN_IN_TRIES_MAX: u32 = 5;
/// The window of the limit on sign-in tries: 15 minutes.
pub const SIGN_IN_WINDOW_MS: i64 = 15 * 60_000;
/// API calls of one key in 15 minutes.
pub const API_CALLS_MAX: u32 = 1_000;
/// The window of the limit on API calls.
pub const API_WINDOW_MS: i64 = 15 * 60_000;
/// Passwords hashed at the same time: each takes 19 MiB.
pub const PASSWORD_HASHES_AT_ONCE: usize = 2;
/// Checks of hostnames of one tenant in [`CHECKS_WINDOW_MS`]: each asks some dozen servers outside.
pub const CHECKS_MAX: u32 = 60;
/// The window of that limit: 15 minutes.
pub const CHECKS_WINDOW_MS: i64 = 15 * 60_000;
/// A session ends after so long without a request …
pub const SESSION_IDLE_MS: i64 = 30 * 60_000;
/// … and after so long in any case.
pub const SESSION_MS: i64 = 12 * 3_600_000;
/// How long a claim link works.
pub const CLAIM_MS: i64 = 30 * 60_000;
/// Minimum characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Maximum bytes of a password: hashing cost must not be the sender's choice.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Between two times that counted traffic is stored: what a killed process loses at most.
pub const TRAFFIC_STORE_MS: u64 = 5_000;
/// Sites whose traffic is stored in one transaction: a few hundred statements. Of more, those that wait longest come first.
pub const TRAFFIC_SITES_AT_ONCE: usize = 1_000;
/// Minutes of sites, and what counts as much, that are stored in one transaction: one is over within a second or so, whatever waits.
pub const TRAFFIC_WEIGHT_MAX: usize = 4_000;
/// The salt of tomorrow is made so long ahead: by midnight all nodes have it.
pub const TRAFFIC_SALT_AHEAD_MS: i64 = 2 * 3_600_000;
/// Labels of one list that are kept of an hour, and of a day: one that makes up more than so many parts of all is always there.
pub const TRAFFIC_LABELS_KEPT: usize = 128;
/// Sums of minutes are kept for two days: for what goes on now.
pub const TRAFFIC_MINUTES_KEPT_MS: i64 = 48 * 3_600_000;
/// Sums of hours are kept for 60 days: for a month, and the one before it.
pub const TRAFFIC_HOURS_KEPT_MS: i64 = 60 * 24 * 3_600_000;
/// Sums of days are kept for three years.
pub const TRAFFIC_DAYS_KEPT_MS: i64 = 3 * 366 * 24 * 3_600_000;
/// Lists of the most frequent pages of a day are kept for a year and some weeks; those of hours as long as the sums of minutes.
pub const TRAFFIC_LISTS_KEPT_MS: i64 = 400 * 24 * 3_600_000;
/// Sketches of visitors are kept until a week can be told from them, no longer.
pub const TRAFFIC_SKETCHES_KEPT_MS: i64 = 8 * 24 * 3_600_000;
/// Sums of one answer.
pub const TRAFFIC_POINTS_MAX: usize = 1_500;
