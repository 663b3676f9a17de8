// Java's HttpClient, in the version of HTTP that the argument names. Run by `run`, which sets TOKEN and URL.

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;

public class JavaClient {
    static final String URL = System.getenv("URL");
    static final String TOKEN = System.getenv("TOKEN");
    static final String WRONG = "wrong-0123456789abcdef";
    static int count = 0;

    static HttpRequest message(String token, BodyPublisher body, boolean expect) {
        var request = HttpRequest.newBuilder(URI.create(URL)).timeout(Duration.ofSeconds(60)).expectContinue(expect);
        if (token != null) {
            request.header("verification-token", token);
        }
        return request.POST(body).build();
    }

    static void check(HttpResponse<String> answer, HttpClient.Version version, int status, String body) {
        // Guesses from one address may be limited.
        var right = answer.statusCode() == status || (status == 401 && answer.statusCode() == 429);
        if (!right || answer.version() != version || (body != null && !answer.body().strip().equals(body))) {
            throw new AssertionError(answer + " " + answer.body() + ", not " + status + " " + body);
        }
        count++;
    }

    public static void main(String[] arguments) throws Exception {
        var version = HttpClient.Version.valueOf(arguments[0]);
        var client = HttpClient.newBuilder().version(version).build();
        var text = BodyHandlers.ofString();
        for (var size : new int[] {0, 1, 1000, 70_000, 5_000_000, 40_000_000}) {
            var bytes = new byte[size];
            var known = BodyPublishers.ofByteArray(bytes);
            var unknown = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes));
            check(client.send(message(TOKEN, known, false), text), version, 200, "stored");
            // Java waits for ever where there is nothing to continue (RFC 9110 section 10.1.1), and where no 100 comes, as
            // over HTTP/2 here and at nginx.
            var expect = size > 0 && version == HttpClient.Version.HTTP_1_1;
            check(client.send(message(TOKEN, known, expect), text), version, 200, "stored");
            check(client.send(message(TOKEN, unknown, false), text), version, 200, "stored");
        }
        for (var token : new String[] {WRONG, null}) {
            check(client.send(message(token, BodyPublishers.ofString("{}"), false), text), version, 401, null);
            check(client.send(message(token, BodyPublishers.ofByteArray(new byte[40_000]), false), text), version, 401, null);
        }
        var challenge = "{\"verification-token\":\"" + TOKEN + "\",\"challenge\":\"hello\"}";
        check(client.send(message(null, BodyPublishers.ofString(challenge), false), text), version, 200, "hello");
        var query = URI.create(URL + "?challenge=hello&verification-token=" + TOKEN);
        check(client.send(HttpRequest.newBuilder(query).build(), text), version, 200, "hello");
        for (var turn = 0; turn < 100; turn++) {
            check(client.send(message(TOKEN, BodyPublishers.ofString("{}"), false), text), version, 200, "stored");
        }
        var atOnce = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        for (var turn = 0; turn < 50; turn++) {
            atOnce.add(client.sendAsync(message(TOKEN, BodyPublishers.ofByteArray(new byte[20_000]), false), text));
        }
        for (var answer : atOnce) {
            check(answer.get(), version, 200, "stored");
        }
        System.out.println(count + " requests as they should be");
    }
}
