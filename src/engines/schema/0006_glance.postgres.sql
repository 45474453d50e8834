-- What the first page of the panel asks of all sites of a tenant, few of which are so: deployments that have failed, the newest last, and
-- sites that show nothing, by name.
CREATE INDEX deployment_failed ON deployment (tenant_id, id) WHERE state = 'failed';
CREATE INDEX site_dark ON site (tenant_id, name) WHERE live IS NULL OR taken_down IS NOT NULL;
