-- Packages (OVA) and the images that are pieces of them.
ALTER TABLE image ADD COLUMN package TEXT;
ALTER TABLE image ADD COLUMN part_of TEXT;
ALTER TABLE image ADD COLUMN part_offset BIGINT;
CREATE INDEX image_by_part ON image (part_of);
