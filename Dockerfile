# The bundle is built with all packages, and the image holds the bundle alone.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
# Without install scripts: they only fetch another copy of Node and check esbuild's binary.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts/build.mjs scripts/
COPY src src
RUN node scripts/build.mjs

FROM node:24.21.0-bookworm-slim
LABEL org.opencontainers.image.title="TokenHub" \
      org.opencontainers.image.description="One address in front of every LLM provider" \
      org.opencontainers.image.licenses="MIT"
# "TOKEN" in the name is all that hadolint sees of a secret here.
# hadolint ignore=DL3064
ENV NODE_ENV=production \
    TOKENHUB_DB_PATH=/data/tokenhub.db
WORKDIR /app
COPY --from=build /build/dist/*.js /build/dist/LICENSES.txt ./
COPY LICENSE package.json ./
COPY --chmod=755 scripts/docker-entrypoint /usr/local/bin/tokenhub-entrypoint
RUN mkdir /data && chown node:node /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:'+(process.env.TOKENHUB_PORT||8080)+'/health/live').then((r)=>process.exit(r.ok?0:1),()=>process.exit(1))"]
# Starts as root only to make a bind-mounted /data writable; the server itself runs as the user "node".
ENTRYPOINT ["tokenhub-entrypoint"]
# The options are those of scripts/run, which says what they are for.
CMD ["node", "--min-semi-space-size=32", "--max-semi-space-size=32", "--heap-growing-percent=100", "--no-parallel-scavenge", "--no-allocation-site-pretenuring", "main.js"]
