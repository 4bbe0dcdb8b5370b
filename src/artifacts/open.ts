// Which object store a process uses: a bucket where one is configured, else the folder. Half a configuration is refused, since
// it would put values where nobody looks for them.
import type { Config } from '../config.ts';
import type { BlobStore } from '../domain/blob.ts';
import { openFiles } from './files.ts';
import { openS3 } from './s3.ts';

/** Reaches nothing yet; `ping` tells whether the store answers. Throws for keys that do not fit together. */
export function openBlobStore(config: Config): BlobStore {
  const { S3_BUCKET: bucket, S3_ENDPOINT: endpoint, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey } = config;
  if (bucket === undefined && (endpoint ?? accessKeyId ?? secretAccessKey) !== undefined) throw new Error('configuration:\n  S3_BUCKET: required where another S3_ key is set');
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined)) throw new Error('configuration:\n  S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY: set both or none');
  if (bucket === undefined) return openFiles(config.ARTIFACTS_DIR);
  return openS3({
    bucket, endpoint, region: config.S3_REGION, prefix: config.S3_PREFIX, forcePathStyle: config.S3_FORCE_PATH_STYLE,
    credentials: accessKeyId !== undefined && secretAccessKey !== undefined ? { accessKeyId, secretAccessKey } : undefined,
  });
}
