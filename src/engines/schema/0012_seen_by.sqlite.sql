-- By which way an authority saw that the hostname of a certificate leads here: http-01, tls-alpn-01 or dns-01. NULL where that is not known.
ALTER TABLE certificate ADD COLUMN seen_by TEXT;
