# One static binary on an empty image. APP chooses the program: yours, the sample, or Towpath's own.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# With .git, from which the binary has the commit that `/app version` names.
COPY . .
ARG APP=./cmd/towpath
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/app "$APP"

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /zoneinfo.zip
ENV ZONEINFO=/zoneinfo.zip
COPY --from=build /out/app /app
USER 65534:65534
EXPOSE 8080
ENTRYPOINT ["/app"]
CMD ["all"]
