-- Notes from documents: facts that a run of the product's own reads out of a document's chunks and brings before the memory gate.

-- What a document says: trusted as a tool's word, and no more than a fact.
ALTER TYPE source_role ADD VALUE 'document';

-- NULL: nobody asked for notes. true: the runs that read it are owed. false: they were submitted.
ALTER TABLE documents ADD COLUMN notes_due boolean;
CREATE INDEX documents_notes_due ON documents (created_at) WHERE notes_due;

-- The document a memory was read from; each line of its evidence names document and chunk.
ALTER TABLE memories ADD COLUMN document_id uuid;
CREATE INDEX memories_document ON memories (tenant_id, document_id) WHERE document_id IS NOT NULL;
